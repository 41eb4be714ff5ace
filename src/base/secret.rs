//! A text that must not be printed, and the reference to one.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A key or password. `Debug` and `Display` print `***`; it has no serialised form.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send or compare it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a key is kept: `{ env = "NAME" }` or `{ file = "PATH" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Never repeats what it found: a key written into the file must not reach a screen or a log.
        struct Source;
        const ALLOWED: &str = "a reference to it, { env = \"NAME\" } or { file = \"PATH\" }";

        impl<'de> Visitor<'de> for Source {
            type Value = KeySource;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(ALLOWED)
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<KeySource, E> {
                Err(E::custom(format!("expected {ALLOWED}, got the key itself (not shown)")))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeySource, A::Error> {
                let entry = map.next_entry::<String, String>()?;
                let more = map.next_key::<String>()?.is_some();
                match entry {
                    Some((kind, name)) if kind == "env" && !more => Ok(KeySource::Env(name)),
                    Some((kind, path)) if kind == "file" && !more => Ok(KeySource::File(path.into())),
                    Some((kind, _)) if !more => {
                        Err(de::Error::custom(format!("expected {ALLOWED}, got a table with `{kind}`")))
                    }
                    Some(_) => Err(de::Error::custom(format!("expected {ALLOWED}, got a table with several keys"))),
                    None => Err(de::Error::custom(format!("expected {ALLOWED}, got an empty table"))),
                }
            }
        }

        deserializer.deserialize_any(Source)
    }
}
