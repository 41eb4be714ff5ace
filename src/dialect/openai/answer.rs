//! Answers: from one JSON body, or chunk by chunk.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fault;
use crate::chat::wire::{Count, Object, Text, each};
use crate::chat::{Answer, FinishReason, ToolCall, Usage};
use crate::dialect::{Class, Fault};

/// What one event of a stream said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing that an answer is made of: a role, an empty delta.
    Nothing,
    /// Content: text, a refusal, reasoning, a tool call, audio.
    Content,
    /// No content, but the end of a choice.
    End,
    /// It is the chunk after the answer that only carries the usage.
    Usage,
    /// `[DONE]`.
    Done,
}

/// An answer while it is being put together.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    answer: Answer,
    /// The provider's index of each tool call of `answer`.
    indices: Vec<u64>,
    /// Bytes of reasoning text, which is not kept.
    reasoning_bytes: usize,
    /// Whether any choice said anything.
    content: bool,
    /// The choices that were met and those that have ended, one bit each.
    met: u64,
    over: u64,
}

impl Assembly {
    /// Reads the `data` of one event; `event` is the event's name.
    ///
    /// # Errors
    /// The provider's own error if that is what it says, or [`Class::Protocol`] if it cannot be read.
    pub fn read(&mut self, event: Option<&str>, data: &[u8]) -> Result<Said, Fault> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(Said::Done);
        }
        let Ok(Object(chunk)) = serde_json::from_slice::<Object<WireAnswer<'_>>>(data) else {
            // An event named `error` may hold anything.
            return Err(if event == Some("error") { fault::in_answer(data) } else { unreadable() });
        };
        if event == Some("error") || chunk.is_error() {
            return Err(fault::in_answer(data));
        }
        let ended_before = self.answer.finish_reason.is_some();
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let any_choice = !choices.is_empty();
        let ends = choices.iter().any(|choice| choice.0.finish_reason.is_some());
        let has_usage = chunk.usage.is_some();
        let content = self.add(chunk)?;
        Ok(if content {
            Said::Content
        } else if ends {
            Said::End
        } else if has_usage && (!any_choice || ended_before) {
            Said::Usage
        } else {
            Said::Nothing
        })
    }

    /// What was said so far.
    #[must_use]
    pub const fn answer(&self) -> &Answer {
        &self.answer
    }

    /// What was said.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        self.answer
    }

    /// Whether anything was said.
    #[must_use]
    pub const fn has_content(&self) -> bool {
        self.content
    }

    /// Whether every choice that began has ended.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.over != 0 && self.over == self.met
    }

    /// Bytes of reasoning text so far. They are paid for, but are not part of the answer.
    #[must_use]
    pub const fn reasoning_bytes(&self) -> usize {
        self.reasoning_bytes
    }

    fn add(&mut self, wire: WireAnswer<'_>) -> Result<bool, Fault> {
        let answer = &mut self.answer;
        if answer.id.is_none() {
            answer.id = wire.id.filter(|id| !id.0.is_empty()).map(|id| id.0.into_owned());
        }
        if answer.model.is_none() {
            answer.model = wire.model.filter(|model| !model.0.is_empty()).map(|model| model.0.into_owned());
        }
        if let Some(Object(usage)) = wire.usage {
            answer.reported_cost_usd = usage.cost.filter(|cost| *cost >= 0.0).or(answer.reported_cost_usd);
            answer.usage = Some(usage.into());
        }
        let mut content = false;
        for Object(choice) in wire.choices.unwrap_or_default() {
            content |= self.add_choice(choice)?;
        }
        self.content |= content;
        Ok(content)
    }

    fn add_choice(&mut self, choice: WireChoice<'_>) -> Result<bool, Fault> {
        let index = choice.index.map_or(0, |index| index.0);
        let (first, bit) = (index == 0, 1 << index.min(63));
        self.met |= bit;
        let mut content = choice.text.as_ref().is_some_and(|text| !text.0.is_empty());
        if let (Some(text), true) = (choice.text, first) {
            self.answer.text.push_str(&text.0);
        }
        if let Some(Object(message)) = choice.delta.or(choice.message) {
            content |= self.add_message(message, first);
        }
        match choice.finish_reason {
            // What some aggregators say when the provider behind them breaks off.
            Some(reason) if reason.0 == "error" => {
                return Err(Fault::new(Class::Broken, "the provider ended the answer with an error"));
            }
            Some(reason) => {
                self.over |= bit;
                if first {
                    self.answer.finish_reason = Some(finish_reason(&reason.0));
                }
            }
            None => {}
        }
        Ok(content)
    }

    fn add_message(&mut self, message: WireMessage<'_>, first: bool) -> bool {
        let said = message.content.unwrap_or_default();
        let refusal = message.refusal.filter(|refusal| !refusal.0.is_empty());
        let reasoning = said.reasoning_bytes + message.reasoning_content.or(message.reasoning).map_or(0, |text| text.0);
        let calls = message.tool_calls.unwrap_or_default();
        let content = !said.text.is_empty()
            || refusal.is_some()
            || reasoning > 0
            || !calls.is_empty()
            || message.function_call.is_some()
            || message.audio.is_some();
        self.reasoning_bytes += reasoning;
        if first {
            self.answer.text.push_str(&said.text);
            if let Some(refusal) = refusal {
                self.answer.refusal.get_or_insert_default().push_str(&refusal.0);
            }
            for Object(call) in calls {
                self.add_call(call);
            }
            if let Some(Object(function)) = message.function_call {
                self.add_call(WireCall { index: Some(Count(0)), id: None, function: Some(Object(function)) });
            }
        }
        content
    }

    fn add_call(&mut self, piece: WireCall<'_>) {
        let id = piece.id.filter(|id| !id.0.is_empty());
        // Without an index a piece with an id of its own begins a call, and one without continues the last.
        let place = match (&piece.index, &id) {
            (Some(index), _) => self.indices.iter().position(|known| *known == index.0),
            (None, Some(id)) => self.answer.tool_calls.iter().position(|call| call.id == id.0),
            (None, None) => self.indices.len().checked_sub(1),
        };
        let place = place.unwrap_or_else(|| {
            let next = self.indices.iter().max().map_or(0, |greatest| greatest.saturating_add(1));
            self.indices.push(piece.index.map_or(next, |index| index.0));
            self.answer.tool_calls.push(ToolCall::default());
            self.answer.tool_calls.len() - 1
        });
        let call = &mut self.answer.tool_calls[place];
        if let (Some(id), true) = (id, call.id.is_empty()) {
            call.id = id.0.into_owned();
        }
        if let Some(Object(function)) = piece.function {
            if let (Some(name), true) = (function.name, call.name.is_empty()) {
                call.name = name.0.into_owned();
            }
            if let Some(arguments) = function.arguments {
                match serde_json::from_str::<Text<'_>>(arguments.get()) {
                    Ok(text) => call.arguments.push_str(&text.0),
                    // Some servers send the object itself instead of its text.
                    Err(_) => call.arguments.push_str(arguments.get()),
                }
            }
        }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// The provider's own error if that is what the body says, or [`Class::Protocol`] if it is not an answer.
pub fn whole(body: &[u8]) -> Result<Assembly, Fault> {
    let Ok(Object(wire)) = serde_json::from_slice::<Object<WireAnswer<'_>>>(body) else {
        return Err(fault::if_error(body).unwrap_or_else(unreadable));
    };
    if wire.is_error() {
        return Err(fault::in_answer(body));
    }
    if wire.choices.as_ref().is_none_or(Vec::is_empty) {
        return Err(Fault::new(Class::Protocol, "the provider's answer holds no choice"));
    }
    let mut assembly = Assembly::default();
    assembly.add(wire)?;
    Ok(assembly)
}

fn unreadable() -> Fault {
    Fault::new(Class::Protocol, "the provider sent something that is not a chat completion")
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// A whole answer or one chunk: they differ only in `message` and `delta`.
#[derive(Deserialize)]
struct WireAnswer<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<Object<WireChoice<'a>>>>,
    usage: Option<Object<WireUsage>>,
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

impl WireAnswer<'_> {
    fn is_error(&self) -> bool {
        let says = |field: &Option<Text<'_>>| field.as_ref().is_some_and(|text| text.0 == "error");
        self.error.is_some() || says(&self.object) || says(&self.kind)
    }
}

#[derive(Deserialize)]
struct WireChoice<'a> {
    index: Option<Count>,
    #[serde(borrow)]
    delta: Option<Object<WireMessage<'a>>>,
    #[serde(borrow)]
    message: Option<Object<WireMessage<'a>>>,
    /// The legacy endpoint's text.
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    reasoning_content: Option<Length>,
    reasoning: Option<Length>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Object<WireCall<'a>>>>,
    #[serde(borrow)]
    function_call: Option<Object<WireFunction<'a>>>,
    audio: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    index: Option<Count>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Object<WireFunction<'a>>>,
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Length of a text in bytes; 0 for anything else.
struct Length(usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str::<Text<'_>>(raw.get()).map_or(0, |text| text.0.len())))
    }
}

/// Text, or an array of parts, some of which may be reasoning.
#[derive(Default)]
struct Content<'a> {
    text: std::borrow::Cow<'a, str>,
    reasoning_bytes: usize,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of parts")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Content<'de>, E> {
        Ok(Content { text: String::from_utf8_lossy(bytes), reasoning_bytes: 0 })
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content<'de>, E> {
        Ok(Content { text: String::from_utf8_lossy(bytes).into_owned().into(), reasoning_bytes: 0 })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content<'de>, A::Error> {
        let mut content = Content::default();
        each(parts, |Object(part): Object<WirePart<'de>>| {
            content.text.to_mut().push_str(&part.text.map_or_else(Default::default, |text| text.0));
            content.reasoning_bytes += part.thinking.map_or(0, |raw| raw.get().len());
        })?;
        Ok(content)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ContentVisitor)
    }
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    prompt_tokens_details: Option<Object<PromptDetails>>,
    completion_tokens_details: Option<Object<CompletionDetails>>,
    /// The `deepseek` name for cached tokens.
    prompt_cache_hit_tokens: Option<Count>,
    /// Anthropic's names, which its imitators pass on.
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    /// What some aggregators charged.
    cost: Option<f64>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<Count>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt = wire.prompt_tokens_details.map(|details| details.0).unwrap_or_default();
        let cached = prompt.cached_tokens.or(wire.prompt_cache_hit_tokens).or(wire.cache_read_input_tokens);
        let written = prompt.cache_write_tokens.or(wire.cache_creation_input_tokens);
        let reasoning = wire.completion_tokens_details.and_then(|details| details.0.reasoning_tokens);
        let tokens = |count: Option<Count>| count.map(|count| count.0);
        Self {
            prompt_tokens: tokens(wire.prompt_tokens),
            completion_tokens: tokens(wire.completion_tokens),
            cached_tokens: tokens(cached),
            cache_write_tokens: tokens(written),
            reasoning_tokens: tokens(reasoning),
        }
    }
}
