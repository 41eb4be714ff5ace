//! From settings to an embedder.

use std::sync::Arc;

use super::{Config, Embedder, Lexical};
use crate::base::Problem;

/// Why there is no encoder. Each says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A setting makes no sense.
    #[error("embed.{0}")]
    Setting(Problem),
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
/// If a setting makes no sense.
pub fn load(config: &Config, progress: Progress) -> Result<Arc<dyn Embedder>, LoadError> {
    if let Some(problem) = config.problems().into_iter().next() {
        return Err(LoadError::Setting(problem));
    }
    progress(&Step::Loaded("lexical vectors only".to_owned()));
    Ok(Arc::new(Lexical))
}
