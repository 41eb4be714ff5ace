//! Giving an answer again: whole or as a stream, from one entry, with every field the provider sent.
//!
//! What is kept is the whole answer. A streamed one is added up to its whole when it is kept ([`whole_of_stream`]):
//! text pieces are joined, lists of log-probabilities are appended, everything else keeps its last value, fields
//! that this version does not know included. Given whole, the kept bytes go out with only `id` and `created`
//! replaced; given as a stream, they are cut into chunks again ([`stream`]). Numbers keep their digits throughout.

use bytes::Bytes;

use super::canonical;
use super::tree::{Tree, get, remove, set};
use crate::chat::Endpoint;

/// Text fields of a message that are cut into pieces, in the order in which models say them.
const SAID: [&str; 5] = ["reasoning_content", "reasoning", "thinking", "content", "refusal"];

type Fields = Vec<(String, Tree)>;

/// The kept answer under a new id, made now. Every other byte stays.
/// `None` if the kept bytes are not a JSON object.
#[must_use]
pub fn whole(body: &[u8], id: &str, created_seconds: u64) -> Option<Bytes> {
    let mut edits: Vec<(std::ops::Range<usize>, String)> = canonical::fields(body)?
        .into_iter()
        .filter_map(|(key, at)| match key.as_ref() {
            "id" => Some((at, serde_json::Value::from(id).to_string())),
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
    let Tree::Map(mut shared) = Tree::read(std::str::from_utf8(body).ok()?)? else { return None };
    let usage = remove(&mut shared, "usage").unwrap_or_else(Tree::null);
    let Tree::List(choices) = remove(&mut shared, "choices")? else { return None };
    set(&mut shared, "id", Tree::Text(id.to_owned()));
    set(&mut shared, "created", Tree::Raw(created_seconds.to_string()));
    if endpoint == Endpoint::ChatCompletions {
        set(&mut shared, "object", Tree::Text("chat.completion.chunk".to_owned()));
    }
    let event = |choices: Vec<Tree>, usage: Option<Tree>| {
        let mut chunk = shared.clone();
        chunk.push(("choices".to_owned(), Tree::List(choices)));
        chunk.extend(usage.map(|usage| ("usage".to_owned(), usage)));
        let mut text = "data: ".to_owned();
        Tree::Map(chunk).write(&mut text);
        text.push_str("\n\n");
        Bytes::from(text)
    };
    let none_yet = || include_usage.then(Tree::null);
    let mut events = Vec::new();
    for choice in choices {
        let Tree::Map(mut choice) = choice else { return None };
        let index = get(&choice, "index").cloned().unwrap_or_else(|| Tree::Raw("0".to_owned()));
        let finish = remove(&mut choice, "finish_reason").unwrap_or_else(Tree::null);
        let mut pieces = match endpoint {
            Endpoint::ChatCompletions => deltas(remove(&mut choice, "message")?)?,
            Endpoint::Completions => texts(&remove(&mut choice, "text")?)?,
        };
        // What else the choice holds (log-probabilities, unknown fields) goes with the first content.
        let at = usize::from(pieces.len() > 1);
        if let Some(first) = pieces.get_mut(at) {
            for (field, value) in &choice {
                set(first, field, value.clone());
            }
        }
        let last = match endpoint {
            Endpoint::ChatCompletions => ("delta".to_owned(), Tree::Map(Vec::new())),
            Endpoint::Completions => ("text".to_owned(), Tree::Text(String::new())),
        };
        let count = pieces.len();
        for (at, mut piece) in pieces.into_iter().chain([vec![last]]).enumerate() {
            set(&mut piece, "index", index.clone());
            set(&mut piece, "finish_reason", if at == count { finish.clone() } else { Tree::null() });
            events.push(event(vec![Tree::Map(piece)], none_yet()));
        }
    }
    if include_usage {
        events.push(event(Vec::new(), Some(usage)));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Some(events)
}

/// The deltas of a message: its role and what is not text, then its texts, cut at words.
fn deltas(message: Tree) -> Option<Vec<Fields>> {
    let Tree::Map(mut message) = message else { return None };
    let mut said = Vec::new();
    for field in SAID {
        if let Some(Tree::Text(text)) = get(&message, field) {
            said.push((field, text.clone()));
        }
    }
    message.retain(|(field, _)| !said.iter().any(|(text, _)| text == field));
    // The first delta carries an empty text where there will be one, as the original streams do.
    message.extend(said.iter().map(|(field, _)| ((*field).to_owned(), Tree::Text(String::new()))));
    let delta = |fields| vec![("delta".to_owned(), Tree::Map(fields))];
    let mut deltas = vec![delta(message)];
    for (field, text) in &said {
        deltas.extend(words(text).map(|word| delta(vec![((*field).to_owned(), Tree::Text(word.to_owned()))])));
    }
    Some(deltas)
}

fn texts(text: &Tree) -> Option<Vec<Fields>> {
    let Tree::Text(text) = text else { return None };
    Some(words(text).map(|word| vec![("text".to_owned(), Tree::Text(word.to_owned()))]).collect())
}

/// The text in pieces that end after white space, and that join to the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

/// The whole answer that a stream adds up to, from the data of its events in order (`[DONE]` and what is not a
/// chunk are passed over). `None` if there was no chunk with a choice, or a chunk is an error.
#[must_use]
pub fn whole_of_stream<'a>(endpoint: Endpoint, data: impl IntoIterator<Item = &'a [u8]>) -> Option<Bytes> {
    let mut whole = Fields::new();
    let mut choices: Vec<Fields> = Vec::new();
    for event in data {
        let Some(Tree::Map(chunk)) = std::str::from_utf8(event).ok().and_then(Tree::read) else { continue };
        for (field, value) in chunk {
            match (field.as_str(), value) {
                ("error", value) if !value.is_null() => return None,
                ("choices", Tree::List(list)) => {
                    for choice in list {
                        let Tree::Map(choice) = choice else { return None };
                        let index = get(&choice, "index").cloned();
                        let known = choices.iter_mut().find(|known| get(known, "index") == index.as_ref());
                        match known {
                            Some(known) => merge(known, choice),
                            None => choices.push(choice),
                        }
                    }
                }
                (_, value) if value.is_null() => {}
                (_, value) => set(&mut whole, &field, value),
            }
        }
    }
    if choices.is_empty() {
        return None;
    }
    if endpoint == Endpoint::ChatCompletions {
        set(&mut whole, "object", Tree::Text("chat.completion".to_owned()));
        for choice in &mut choices {
            let mut message = match remove(choice, "delta") {
                Some(Tree::Map(message)) => message,
                _ => Fields::new(),
            };
            if get(&message, "role").is_none() {
                message.insert(0, ("role".to_owned(), Tree::Text("assistant".to_owned())));
            }
            if get(&message, "content").is_none() {
                message.push(("content".to_owned(), Tree::null()));
            }
            choice.push(("message".to_owned(), Tree::Map(message)));
        }
    }
    set(&mut whole, "choices", Tree::List(choices.into_iter().map(Tree::Map).collect()));
    let mut text = String::new();
    Tree::Map(whole).write(&mut text);
    Some(Bytes::from(text))
}

/// Adds a piece to what is there: said texts and lists grow, objects merge, the rest is replaced.
fn merge(into: &mut Fields, piece: Fields) {
    for (field, value) in piece {
        let grows = SAID.contains(&field.as_str()) || field == "text";
        match (into.iter_mut().find(|(known, _)| *known == field).map(|(_, value)| value), value) {
            (Some(_), value) if value.is_null() => {}
            (Some(Tree::Text(text)), Tree::Text(more)) if grows => text.push_str(&more),
            (Some(Tree::List(list)), Tree::List(more)) => list.extend(more),
            (Some(Tree::Map(inner)), Tree::Map(more)) => merge(inner, more),
            (Some(old), value) => *old = value,
            (None, value) => into.push((field, value)),
        }
    }
}
