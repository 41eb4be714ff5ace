//! What can be swapped while requests are served: one request sees one version of all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Digest, Seed};
use crate::catalog::Catalog;
use crate::features::Extractor;
use crate::ledger::Part;
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
    /// A version on trial beside it.
    pub trial: Option<Trial>,
    /// What reads a request.
    pub features: Arc<Extractor>,
    /// Preferences by name: `auto:NAME`. Holds at least [`DEFAULT_PRESET`].
    pub presets: BTreeMap<String, Preferences>,
    /// Names the configuration; stands in every event.
    pub config: Digest,
}

/// A policy version on trial.
#[derive(Clone)]
pub struct Trial {
    /// Its name.
    pub version: String,
    /// What it chooses.
    pub policy: Arc<dyn Policy>,
    /// The share of the conversations that it decides; `None` = it decides nothing, and what it would have done is
    /// written down.
    pub share: Option<f64>,
}

/// The purpose of the draw that says who decides a conversation; see [`Seed::uniform`].
const TRIAL_DRAW: &str = "trial";

/// Who decides a request.
pub(super) struct Deciding<'a> {
    /// What chooses.
    pub(super) policy: &'a dyn Policy,
    /// What it would be asked beside that.
    pub(super) shadow: Option<&'a dyn Policy>,
    /// The version on trial, and the part this request has in it.
    pub(super) trial: Option<(&'a str, Part)>,
}

impl Live {
    /// Who decides the request with this seed. The turns of a conversation share their seed, and so who decides.
    pub(super) fn deciding(&self, seed: Seed) -> Deciding<'_> {
        let usual = Deciding { policy: self.policy.as_ref(), shadow: None, trial: None };
        let Some(trial) = &self.trial else { return usual };
        let version = trial.version.as_str();
        match trial.share {
            None => Deciding { shadow: Some(trial.policy.as_ref()), trial: Some((version, Part::Shadow)), ..usual },
            Some(share) if seed.uniform(TRIAL_DRAW) < share => {
                Deciding { policy: trial.policy.as_ref(), trial: Some((version, Part::Candidate)), ..usual }
            }
            Some(_) => Deciding { trial: Some((version, Part::Others)), ..usual },
        }
    }

    /// The built-in presets: `cheap`, `balanced`, `best`.
    #[must_use]
    pub fn built_in_presets() -> BTreeMap<String, Preferences> {
        [("cheap", Preferences::CHEAP), ("balanced", Preferences::BALANCED), ("best", Preferences::BEST)]
            .map(|(name, preferences)| (name.to_owned(), preferences))
            .into()
    }
}
