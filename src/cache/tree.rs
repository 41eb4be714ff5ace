//! JSON that keeps its order and the text of its numbers: what an answer is taken apart and put together in.

use serde_json::value::RawValue;

use super::canonical;

/// A JSON value. Written again, it is equal to what was read, digit for digit and in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// A number, a word, or a string that is no Unicode text: as it was written.
    Raw(String),
    /// A string, unescaped.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// An object.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    pub(super) fn null() -> Self {
        Self::Raw("null".to_owned())
    }

    /// Reads JSON text; `None` if it is none, or is nested too deeply.
    pub(super) fn read(json: &str) -> Option<Self> {
        let json = json.trim();
        match json.as_bytes().first()? {
            b'{' => {
                let fields = canonical::fields(json.as_bytes())?;
                let read = fields.into_iter().map(|(key, at)| Some((key.into_owned(), Self::read(&json[at])?)));
                read.collect::<Option<_>>().map(Self::Map)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
                items.into_iter().map(|item| Self::read(item.get())).collect::<Option<_>>().map(Self::List)
            }
            b'"' => Some(serde_json::from_str(json).map_or_else(|_| Self::Raw(json.to_owned()), Self::Text)),
            _ => serde_json::from_str::<&RawValue>(json).ok().map(|raw| Self::Raw(raw.get().to_owned())),
        }
    }

    /// Appends it as JSON text.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Raw(text) => out.push_str(text),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(fields) => {
                out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Raw(text) if text == "null")
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The value of a field.
pub(super) fn get<'a>(fields: &'a [(String, Tree)], name: &str) -> Option<&'a Tree> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Takes a field out.
pub(super) fn remove(fields: &mut Vec<(String, Tree)>, name: &str) -> Option<Tree> {
    let at = fields.iter().position(|(key, _)| key == name)?;
    Some(fields.remove(at).1)
}

/// Sets a field: in its place if it is there, else at the end.
pub(super) fn set(fields: &mut Vec<(String, Tree)>, name: &str, value: Tree) {
    match fields.iter_mut().find(|(key, _)| key == name) {
        Some((_, old)) => *old = value,
        None => fields.push((name.to_owned(), value)),
    }
}
