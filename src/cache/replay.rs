//! Giving an answer again: whole or as a stream, from one entry, with every field the provider sent.
//!
//! What is kept is the whole answer. A streamed one is added up to its whole when it is kept ([`whole_of_stream`]):
//! text pieces are joined, lists of log-probabilities are appended, everything else keeps its last value, fields
//! that this version does not know included. Given whole, the kept bytes go out with only `id` and `created`
//! replaced; given as a stream, they are cut into chunks again ([`stream`]).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::canonical;
use crate::chat::Endpoint;

/// Text fields of a delta: their pieces are joined, and cut again.
const JOINED: [&str; 6] = ["content", "reasoning_content", "reasoning", "refusal", "text", "thinking"];

/// The kept answer under a new id, made now. Every other byte stays.
/// `None` if the kept bytes are not a JSON object.
#[must_use]
pub fn whole(body: &[u8], id: &str, created_seconds: u64) -> Option<Bytes> {
    let mut edits: Vec<(std::ops::Range<usize>, String)> = canonical::fields(body)?
        .into_iter()
        .filter_map(|(key, at)| match key.as_ref() {
            "id" => Some((at, Value::from(id).to_string())),
            "created" => Some((at, created_seconds.to_string())),
            _ => None,
        })
        .collect();
    edits.sort_by_key(|(at, _)| at.start);
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut from = 0;
    for (at, text) in edits {
        out.extend_from_slice(&body[from..at.start]);
        out.extend_from_slice(text.as_bytes());
        from = at.end;
    }
    out.extend_from_slice(&body[from..]);
    Some(Bytes::from(out))
}

/// The kept answer as server-sent events, one a piece: the role, the content word by word, the reason of the end,
/// the usage if the caller asked for it, `[DONE]`. `None` if the kept bytes are not an answer.
#[must_use]
pub fn stream(
    endpoint: Endpoint,
    body: &[u8],
    id: &str,
    created_seconds: u64,
    include_usage: bool,
) -> Option<Vec<Bytes>> {
    let Value::Object(mut whole) = serde_json::from_slice(body).ok()? else { return None };
    let usage = whole.remove("usage");
    let Some(Value::Array(choices)) = whole.remove("choices") else { return None };
    whole.insert("id".to_owned(), id.into());
    whole.insert("created".to_owned(), created_seconds.into());
    if endpoint == Endpoint::ChatCompletions {
        whole.insert("object".to_owned(), "chat.completion.chunk".into());
    }
    let event = |choices: Vec<Value>, usage: Option<Value>| {
        let mut chunk = whole.clone();
        chunk.insert("choices".to_owned(), Value::Array(choices));
        match usage {
            Some(usage) => drop(chunk.insert("usage".to_owned(), usage)),
            None if include_usage => drop(chunk.insert("usage".to_owned(), Value::Null)),
            None => {}
        }
        Bytes::from(format!("data: {}\n\n", Value::Object(chunk)))
    };
    let mut events = Vec::new();
    for choice in choices {
        let Value::Object(mut choice) = choice else { return None };
        let index = choice.get("index").cloned().unwrap_or_else(|| 0.into());
        let finish = choice.remove("finish_reason").unwrap_or(Value::Null);
        let mut pieces = match endpoint {
            Endpoint::ChatCompletions => chat_deltas(choice.remove("message"))?,
            Endpoint::Completions => completion_pieces(&mut choice)?,
        };
        // What else the choice holds (log-probabilities, unknown fields) goes with the first content.
        let at = usize::from(pieces.len() > 1);
        if let Some(first) = pieces.get_mut(at) {
            first.extend(choice);
        }
        for mut piece in pieces {
            piece.insert("index".to_owned(), index.clone());
            piece.entry("finish_reason").or_insert(Value::Null);
            events.push(event(vec![Value::Object(piece)], None));
        }
        let end = match endpoint {
            Endpoint::ChatCompletions => json!({"index": index, "delta": {}, "finish_reason": finish}),
            Endpoint::Completions => json!({"index": index, "text": "", "finish_reason": finish}),
        };
        events.push(event(vec![end], None));
    }
    if include_usage {
        events.push(event(Vec::new(), Some(usage.unwrap_or(Value::Null))));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Some(events)
}

/// The deltas of a message: its role and what is not text, then its texts, cut at words.
fn chat_deltas(message: Option<Value>) -> Option<Vec<Map<String, Value>>> {
    let Some(Value::Object(mut message)) = message else { return None };
    let mut texts = Vec::new();
    for field in ["reasoning_content", "reasoning", "thinking", "content", "refusal"] {
        if let Some(Value::String(text)) = message.get(field) {
            texts.push((field, text.clone()));
            message.insert(field.to_owned(), Value::Null);
        }
    }
    // The first delta carries an empty content where there will be one, as the original streams do.
    if texts.iter().any(|(field, _)| *field == "content") {
        message.insert("content".to_owned(), "".into());
    }
    message.retain(|field, value| !(value.is_null() && texts.iter().any(|(text, _)| text == field)));
    let delta = |fields: Map<String, Value>| Map::from_iter([("delta".to_owned(), Value::Object(fields))]);
    let mut deltas = vec![delta(message)];
    for (field, text) in &texts {
        deltas.extend(words(text).map(|word| delta(Map::from_iter([((*field).to_owned(), word.into())]))));
    }
    Some(deltas)
}

fn completion_pieces(choice: &mut Map<String, Value>) -> Option<Vec<Map<String, Value>>> {
    let Some(Value::String(text)) = choice.remove("text") else { return None };
    Some(words(&text).map(|word| Map::from_iter([("text".to_owned(), word.into())])).collect())
}

/// The text in pieces that end after white space, and that join to the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

/// The whole answer that a stream adds up to, from the data of its events in order (`[DONE]` and what is not a
/// chunk are passed over). `None` if there was no chunk with a choice, or a chunk is an error.
#[must_use]
pub fn whole_of_stream<'a>(endpoint: Endpoint, data: impl IntoIterator<Item = &'a [u8]>) -> Option<Bytes> {
    let mut whole = Map::new();
    let mut choices: Vec<Map<String, Value>> = Vec::new();
    for event in data {
        let Ok(Value::Object(chunk)) = serde_json::from_slice::<Value>(event) else { continue };
        if chunk.contains_key("error") {
            return None;
        }
        for (field, value) in chunk {
            match (field.as_str(), value) {
                ("choices", Value::Array(list)) => {
                    for choice in list {
                        let Value::Object(choice) = choice else { return None };
                        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
                        let at =
                            choices.iter().position(|known| known.get("index").and_then(Value::as_u64) == Some(index));
                        let at = at.unwrap_or_else(|| {
                            choices.push(Map::from_iter([("index".to_owned(), index.into())]));
                            choices.len() - 1
                        });
                        merge(&mut choices[at], choice);
                    }
                }
                (_, Value::Null) => {}
                (_, value) => drop(whole.insert(field, value)),
            }
        }
    }
    if choices.is_empty() {
        return None;
    }
    for choice in &mut choices {
        if endpoint == Endpoint::ChatCompletions {
            let mut message = choice.remove("delta").unwrap_or_else(|| json!({}));
            if let Value::Object(message) = &mut message {
                message.entry("role").or_insert_with(|| "assistant".into());
                message.entry("content").or_insert(Value::Null);
            }
            choice.insert("message".to_owned(), message);
        }
    }
    if endpoint == Endpoint::ChatCompletions {
        whole.insert("object".to_owned(), "chat.completion".into());
    }
    whole.insert("choices".to_owned(), choices.into_iter().map(Value::Object).collect());
    serde_json::to_vec(&Value::Object(whole)).ok().map(Bytes::from)
}

/// Adds a piece to what is there: texts of [`JOINED`] and lists grow, objects merge, the rest is replaced.
fn merge(into: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (field, value) in piece {
        match (into.get_mut(&field), value) {
            (Some(_), Value::Null) => {}
            (Some(Value::String(text)), Value::String(more)) if JOINED.contains(&field.as_str()) => {
                text.push_str(&more);
            }
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more),
            (_, value) => drop(into.insert(field, value)),
        }
    }
}
