//! What can be swapped while requests are served: one request sees one version of all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Budgets, Guards};
use crate::base::{Digest, Seed};
use crate::catalog::Catalog;
use crate::chat::ChatRequest;
use crate::embed::Embedding;
use crate::features::{Context, Extractor, Features};
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
    /// What requests are paid from.
    pub budgets: Arc<Budgets>,
    /// How freely requests may explore.
    pub guards: Arc<Guards>,
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
    /// What reads a request for it, where it was learned on another feature map than the one in force.
    pub features: Option<Arc<Extractor>>,
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
    /// What reads the request for it.
    pub(super) features: &'a Extractor,
    /// What is asked beside that.
    pub(super) shadow: Option<&'a Trial>,
    /// The version on trial, and the part this request has in it.
    pub(super) trial: Option<(&'a str, Part)>,
}

impl Deciding<'_> {
    /// The context as the version in the shadow sees it; `features` are those that the deciding policy sees.
    pub(super) fn shadow_sees(
        &self,
        features: &Features,
        request: &ChatRequest,
        embedding: Option<&Embedding>,
    ) -> Option<Context> {
        let own = self.shadow?.features.as_ref();
        Some(own.map_or_else(|| features.context.clone(), |own| own.context(request.prompt(), embedding)))
    }
}

impl Live {
    /// Who decides the request with this seed. The turns of a conversation share their seed, and so who decides.
    pub(super) fn deciding(&self, seed: Seed) -> Deciding<'_> {
        let usual = Deciding { policy: self.policy.as_ref(), features: &self.features, shadow: None, trial: None };
        let Some(trial) = &self.trial else { return usual };
        let version = trial.version.as_str();
        match trial.share {
            None => Deciding { shadow: Some(trial), trial: Some((version, Part::Shadow)), ..usual },
            Some(share) if seed.uniform(TRIAL_DRAW) < share => {
                let features = trial.features.as_deref().unwrap_or(&self.features);
                Deciding { policy: trial.policy.as_ref(), features, trial: Some((version, Part::Candidate)), ..usual }
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
