//! What can be swapped while requests are served: one request sees one version of all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Digest;
use crate::catalog::Catalog;
use crate::features::Extractor;
use crate::policy::{Policy, Preferences};

/// The preset that plain `auto` stands for, unless the caller's key says another.
pub const DEFAULT_PRESET: &str = "balanced";

/// One version of everything that a request is decided by.
#[derive(Clone)]
pub struct Live {
    /// What can be called.
    pub catalog: Arc<Catalog>,
    /// What chooses.
    pub policy: Arc<dyn Policy>,
    /// What reads a request.
    pub features: Arc<Extractor>,
    /// Preferences by name: `auto:NAME`. Holds at least [`DEFAULT_PRESET`].
    pub presets: BTreeMap<String, Preferences>,
    /// Names the configuration; stands in every event.
    pub config: Digest,
}

impl Live {
    /// The built-in presets: `cheap`, `balanced`, `best`.
    #[must_use]
    pub fn built_in_presets() -> BTreeMap<String, Preferences> {
        [("cheap", Preferences::CHEAP), ("balanced", Preferences::BALANCED), ("best", Preferences::BEST)]
            .map(|(name, preferences)| (name.to_owned(), preferences))
            .into()
    }
}
