//! From settings to an embedder.

use std::sync::Arc;

use super::{Config, Embedder, Lexical, Workers};
use crate::base::Problem;

/// Why there is no encoder. Each says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A setting makes no sense.
    #[error("embed.{0}")]
    Setting(Problem),
    /// No place has the encoder's files.
    #[error(
        "the encoder {model} was not found. Tried:\n  {}\nWith a network, `pointsman models fetch` gets it. Without one, put \
         config.json, tokenizer.json and model.safetensors in a folder and name it as embed.folder; or set \
         embed.enabled = false to route by words only",
        passed.join("\n  ")
    )]
    Missing {
        /// The encoder.
        model: String,
        /// Each place and why it did not help.
        passed: Vec<String>,
    },
    /// The files are there but cannot be run.
    #[error("the encoder {model} cannot be used: {reason}")]
    Unfit {
        /// The encoder.
        model: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine gives no more threads.
    #[error("a thread for the encoder cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What is going on while the encoder is found and loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looks at, or fetches from, this place.
    Trying(String),
    /// So much of the download is here; the total is an estimate where the source does not say.
    Fetched {
        /// Bytes here.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// This place did not help; the sentence says why.
    Passed(String),
    /// The encoder is loaded; the sentence says from where and how it computes.
    Loaded(String),
}

/// Is told what is going on while the encoder is found and loaded. Called from the loading thread.
pub type Progress = Arc<dyn Fn(&Step) + Send + Sync>;

/// Starts what these settings ask for and comes back at once: the weights are found and read in the background,
/// and until then [`Embedder::embed`] gives `None`. [`Embedder::settled`] waits for the outcome.
///
/// # Errors
/// If a setting makes no sense, or the machine gives no thread.
pub fn load(config: &Config, progress: Progress) -> Result<Arc<dyn Embedder>, LoadError> {
    if let Some(problem) = config.problems().into_iter().next() {
        return Err(LoadError::Setting(problem));
    }
    if !config.enabled {
        progress(&Step::Loaded("no encoder: vectors are lexical".to_owned()));
        return Ok(Arc::new(Lexical));
    }
    Ok(Arc::new(Workers::start(config.clone(), progress)?))
}
