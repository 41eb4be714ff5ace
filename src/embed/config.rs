//! What an operator may choose about the encoder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sources::Manifest;
use crate::base::Problem;

/// The encoder that is used when none is named; its files are pinned by hash in `models/`.
pub const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// The encoder's settings. Every field has a default that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `false`: no encoder is loaded and every vector is lexical ([`super::hashing`]).
    pub enabled: bool,
    /// The hub id of a BERT-family encoder. Anything but the default is run as it is found: its files are not pinned.
    pub model: String,
    /// A folder with `model.safetensors`, `tokenizer.json` and `config.json`; looked at before anything else.
    pub folder: Option<PathBuf>,
    /// `true`: use what is on this machine, fetch nothing.
    pub offline: bool,
    /// In which arithmetic the encoder computes.
    pub precision: Precision,
    /// Tokens read of a text, with the two that mark its ends.
    pub max_tokens: usize,
    /// Worker threads; `None` is one a core.
    pub workers: Option<usize>,
    /// Texts that may wait for a worker; a text beyond that gets no vector.
    pub queue: usize,
    /// Vectors kept in memory, 1.5 kB each.
    pub remembered: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            model: DEFAULT_MODEL.to_owned(),
            folder: None,
            offline: false,
            precision: Precision::Auto,
            max_tokens: 256,
            workers: None,
            queue: 256,
            remembered: 16_384,
        }
    }
}

impl Config {
    /// Name and version of the encoder these settings ask for. A pinned encoder is marked with its weights' hash; any
    /// other with its name alone, so whoever changes the files behind a name should change the name.
    #[must_use]
    pub fn id(&self) -> String {
        Manifest::of(&self.model).map_or_else(|| self.model.clone(), Manifest::id)
    }

    /// What is wrong with these settings; empty if nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if self.model.trim().is_empty() {
            found.push(Problem::new("model", "an empty text", format!("a hub id such as {DEFAULT_MODEL}")));
        }
        if !(3..=512).contains(&self.max_tokens) {
            found.push(Problem::new("max_tokens", self.max_tokens, "3 to 512"));
        }
        if self.workers == Some(0) {
            found.push(Problem::new("workers", 0, "1 or more; left out: one a core"));
        }
        if self.queue == 0 {
            found.push(Problem::new("queue", 0, "1 or more"));
        }
        found
    }
}

/// In which arithmetic the encoder computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The fastest that keeps a cosine of 0.9999 to the exact vector: bf16 where the processor has it, else f32.
    #[default]
    Auto,
    /// Exact single precision.
    F32,
    /// Weights and activations of the linear layers in bf16, sums in f32; refused where the processor lacks it.
    Bf16,
}
