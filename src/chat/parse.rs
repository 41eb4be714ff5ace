//! From a body to its view: one pass that reads the fields routing needs and skips the rest.
//!
//! Nothing here is stricter than it must be. A message may have any role and any kind of content; a part of a
//! kind that is not known passes. But a field that is read must have its type, and the error says which field,
//! what was expected and what was found, never what the text said.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::edit::{self, Edits};
use super::wire::{Count, Object, Switch, Text, each};
use super::{ChatRequest, Endpoint, Message, Raw, ResponseFormat, Role, Tool, View};
use crate::base::Error;

/// The fields that are read, as they stand in the body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    messages: Option<Vec<Object<WireMessage>>>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<Vec<Object<WireTool<'a>>>>,
    #[serde(borrow)]
    functions: Option<Vec<Object<WireFunction<'a>>>>,
    #[serde(borrow)]
    response_format: Option<Object<WireFormat<'a>>>,
    n: Option<Count>,
    temperature: Option<f64>,
    max_completion_tokens: Option<Count>,
    max_tokens: Option<Count>,
    logprobs: Option<Switch>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct WireMessage {
    role: WireRole,
    content: Option<Content>,
    tool_calls: Option<Vec<IgnoredAny>>,
    function_call: Option<IgnoredAny>,
}

struct WireRole(Role);

impl<'de> Deserialize<'de> for WireRole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match &*Text::deserialize(deserializer)?.0 {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => Role::Other,
        }))
    }
}

/// What a message says: its text, and a count of everything else.
#[derive(Default)]
struct Content {
    text: String,
    images: usize,
    other_media: usize,
}

impl Content {
    fn say(&mut self, text: &str) {
        if !self.text.is_empty() && !text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of content parts or null")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(Content { text: String::from_utf8_lossy(bytes).into_owned(), ..Content::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        each(parts, |part: Part<'_>| match part {
            Part::Text(text) => content.say(&text.0),
            Part::Image => content.images += 1,
            Part::Media => content.other_media += 1,
            Part::Unknown => {}
        })?;
        Ok(content)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ContentVisitor)
    }
}

enum Part<'a> {
    Text(Text<'a>),
    Image,
    Media,
    Unknown,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content part: an object with a `type`")
    }

    // Not in OpenAI's description, but some servers take bare strings among the parts.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Part<'de>, E> {
        Ok(Part::Text(Text(text.to_owned().into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part<'de>, A::Error> {
        let part = WirePart::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(match part.kind.as_ref().map(|kind| &*kind.0) {
            Some("text" | "input_text" | "output_text") => match part.text {
                None => return Err(de::Error::missing_field("text")),
                Some(raw) => serde_json::from_str(raw.get())
                    .map(Part::Text)
                    .map_err(|_| de::Error::invalid_type(met(raw.get()), &"a string as `text`"))?,
            },
            Some("image_url" | "image" | "input_image") => Part::Image,
            Some("input_audio" | "audio_url" | "video_url" | "file" | "input_file" | "document") => Part::Media,
            _ => Part::Unknown,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Part<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

#[derive(Deserialize)]
struct WireTool<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Object<WireFunction<'a>>>,
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    json_schema: Option<Object<WireSchema<'a>>>,
}

#[derive(Deserialize)]
struct WireSchema<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

/// The legacy `prompt`: a text, several, or tokens (which have no text).
struct Prompt(Vec<String>);

struct PromptVisitor;

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of strings or an array of tokens")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Prompt, E> {
        Ok(Prompt(vec![String::from_utf8_lossy(bytes).into_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Prompt, A::Error> {
        let mut texts = Vec::new();
        each(array, |element: &RawValue| texts.extend(serde_json::from_str::<Text<'_>>(element.get())))?;
        Ok(Prompt(texts.into_iter().map(|text| text.0.into_owned()).collect()))
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(PromptVisitor)
    }
}

#[derive(Deserialize)]
struct StreamOptions<'a> {
    #[serde(borrow)]
    include_usage: Option<&'a RawValue>,
}

impl ChatRequest {
    /// Reads a body. The body is kept as it is; see [`ChatRequest::upstream_body`].
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`](crate::base::Kind::InvalidRequest) with the path of the field at fault, when the
    /// body is not a JSON object, a field that is read has another type than it must have or stands there
    /// twice, or `model` or the prompt is missing.
    pub fn parse(endpoint: Endpoint, body: Bytes) -> Result<Self, Error> {
        let text = std::str::from_utf8(&body).map_err(|error| {
            Error::invalid("", format!("the body is not JSON: byte {} is not UTF-8", error.valid_up_to()))
        })?;
        let Object(fields) = read::<Object<Body<'_>>>("", text)?;

        let mut view = View {
            model: model(fields.model)?,
            stream: fields.stream.unwrap_or(false),
            n: fields.n.map_or(1, narrow),
            temperature: fields.temperature,
            max_tokens: fields.max_completion_tokens.or(fields.max_tokens).map(narrow),
            logprobs: fields.logprobs.is_some_and(|switch| switch.0),
            user: fields.user.map(|user| user.0.into_owned()),
            messages: messages(endpoint, fields.messages, fields.prompt)?,
            ..View::default()
        };
        if view.n == 0 {
            return Err(Error::invalid("n", "`n`: expected 1 or more, found 0"));
        }
        let keep = |raw: &RawValue| Raw(body.slice_ref(raw.get().as_bytes()));
        view.tools = tools(fields.tools, fields.functions, keep);
        view.response_format = response_format(fields.response_format, keep);

        let model = fields.model.map_or(0..0, |raw| range_in(text, raw.get()));
        let mut edits = Edits::of_model(model.clone());
        let options = fields.stream_options.map(RawValue::get);
        let include = match options {
            Some(options) => read::<Object<StreamOptions<'_>>>("stream_options", options)?.0.include_usage,
            None => None,
        };
        view.include_usage = match include.map(RawValue::get) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let message = format!("`stream_options.include_usage`: expected a boolean, found {}", found(other));
                return Err(Error::invalid("stream_options.include_usage", message));
            }
        };
        if view.stream && !view.include_usage {
            edits.push(edit::include_usage(text, &model, options, include.map(RawValue::get)));
        }
        if let Some(raw) = fields.metadata {
            view.metadata = edit::metadata(text, raw, &mut edits).map_err(|error| invalid("metadata", &error, ""))?;
        }
        Ok(Self { endpoint, body, view, edits })
    }
}

/// Where `part`, a slice of `whole`, stands in it.
pub(super) fn range_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

fn narrow(count: Count) -> u32 {
    u32::try_from(count.0).unwrap_or(u32::MAX)
}

fn model(raw: Option<&RawValue>) -> Result<String, Error> {
    let Some(raw) = raw else {
        let message = "`model`: expected the name of a model; `auto` lets Pointsman choose";
        return Err(Error::invalid("model", message));
    };
    let name = serde_json::from_str::<Text<'_>>(raw.get())
        .map_err(|_| Error::invalid("model", format!("`model`: expected a string, found {}", found(raw.get()))))?;
    if name.0.trim().is_empty() {
        let message = "`model`: expected the name of a model, found an empty one; `auto` lets Pointsman choose";
        return Err(Error::invalid("model", message));
    }
    Ok(name.0.into_owned())
}

fn messages(
    endpoint: Endpoint,
    messages: Option<Vec<Object<WireMessage>>>,
    prompt: Option<&RawValue>,
) -> Result<Vec<Message>, Error> {
    match endpoint {
        Endpoint::ChatCompletions => {
            let messages = messages.unwrap_or_default();
            if messages.is_empty() {
                return Err(Error::invalid("messages", "`messages`: expected at least one message"));
            }
            Ok(messages.into_iter().map(|Object(message)| message.into()).collect())
        }
        Endpoint::Completions => {
            let Some(prompt) = prompt else {
                return Err(Error::invalid("prompt", "`prompt`: expected a string or an array"));
            };
            let Prompt(texts) = read("prompt", prompt.get())?;
            let (images, other_media, tool_calls) = (0, 0, 0);
            Ok(vec![Message { role: Role::User, text: texts.join("\n"), images, other_media, tool_calls }])
        }
    }
}

impl From<WireMessage> for Message {
    fn from(message: WireMessage) -> Self {
        let content = message.content.unwrap_or_default();
        let calls = message.tool_calls.map_or(0, |calls| calls.len());
        Self {
            role: message.role.0,
            text: content.text,
            images: content.images,
            other_media: content.other_media,
            tool_calls: calls + usize::from(message.function_call.is_some()),
        }
    }
}

fn tools(
    tools: Option<Vec<Object<WireTool<'_>>>>,
    functions: Option<Vec<Object<WireFunction<'_>>>>,
    keep: impl Fn(&RawValue) -> Raw,
) -> Vec<Tool> {
    let function = |Object(function): Object<WireFunction<'_>>| Tool {
        name: function.name.0.into_owned(),
        parameters: function.parameters.map(&keep),
    };
    let modern = tools.into_iter().flatten().map(|Object(tool)| match tool.function {
        Some(described) => function(described),
        None => Tool { name: tool.kind.map_or_else(String::new, |kind| kind.0.into_owned()), parameters: None },
    });
    modern.chain(functions.into_iter().flatten().map(function)).collect()
}

fn response_format(format: Option<Object<WireFormat<'_>>>, keep: impl Fn(&RawValue) -> Raw) -> ResponseFormat {
    let Some(Object(format)) = format else { return ResponseFormat::Text };
    match &*format.kind.0 {
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => match format.json_schema.and_then(|Object(outer)| outer.schema) {
            Some(schema) => ResponseFormat::JsonSchema(keep(schema)),
            None => ResponseFormat::JsonObject,
        },
        _ => ResponseFormat::Text,
    }
}

/// Reads `text` as a `T`. Only when that fails is it read again with the path kept, for the error.
fn read<'a, T: Deserialize<'a>>(at: &str, text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|first| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(error) => {
                let path = error.path().to_string();
                invalid(at, error.inner(), if path == "." { "" } else { &path })
            }
            // The value is well, so it is what follows it.
            Ok(_) => invalid(at, &first, ""),
        }
    })
}

/// The error in words: the path, what was expected, what was found, nothing of the text itself.
fn invalid(at: &str, error: &serde_json::Error, path: &str) -> Error {
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(&*full, |(what, _)| what);
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return Error::invalid(at, format!("the body is not JSON: {what} (line {line}, column {column})"));
    }
    let mut path: Vec<&str> = [at, path].into_iter().filter(|part| !part.is_empty()).collect();
    let problem = if let Some(rest) = what.strip_prefix("missing field ") {
        path.push(rest.trim_matches('`'));
        "required, found nothing".to_owned()
    } else if let Some(rest) = what.strip_prefix("duplicate field ") {
        let name = rest.trim_matches('`');
        if !path.last().is_some_and(|last| last.ends_with(name)) {
            path.push(name);
        }
        "given twice, expected once".to_owned()
    } else if let Some((before, expected)) = what.rsplit_once(", expected ") {
        let expected = match expected {
            "a sequence" => "an array",
            "f64" => "a number",
            other => other,
        };
        format!("expected {expected}, found {}", found_in(before))
    } else {
        what.to_owned()
    };
    if path.is_empty() {
        return Error::invalid("", format!("the body: {problem}"));
    }
    let path = path.join(".");
    let message = format!("`{path}`: {problem}");
    Error::invalid(path, message)
}

/// serde's word for what it met, in JSON's words and without the value.
fn found_in(serde: &str) -> &'static str {
    let met = serde.split_once(": ").map_or(serde, |(_, met)| met);
    match met.split([' ', '`', '"']).next().unwrap_or_default() {
        "integer" | "floating" | "number" => "a number",
        "string" => "a string",
        "boolean" => "a boolean",
        "map" => "an object",
        "sequence" => "an array",
        "null" | "unit" | "Option" => "null",
        _ => "something else",
    }
}

/// What kind of value this JSON text is, in serde's words.
fn met(json: &str) -> de::Unexpected<'static> {
    match json.bytes().next() {
        Some(b'"') => de::Unexpected::Str(""),
        Some(b'{') => de::Unexpected::Map,
        Some(b'[') => de::Unexpected::Seq,
        Some(b't' | b'f') => de::Unexpected::Bool(true),
        Some(b'n') => de::Unexpected::Unit,
        _ => de::Unexpected::Unsigned(0),
    }
}

/// What kind of value this JSON text is, in JSON's words.
fn found(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
