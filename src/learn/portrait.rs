//! What a policy believes and what was done by it, by intent: for people.
//!
//! A belief is linear in the context, so what is believed of a model on an intent's requests, on average, is what is
//! believed of it at their mean context; the interval there is the interval of that average.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::ModelId;
use crate::features::{CONTEXT, Context};
use crate::ledger::{Event, Ledger, LedgerError, Mode, Offset};
use crate::policy::{Estimate, Snapshot};

/// The intent under which requests stand whose intent is not known.
pub const NO_INTENT: &str = "(intent not known)";
/// The row over all requests.
pub const ALL: &str = "(all)";

/// Events read at a time.
const STRIDE: usize = 1024;

/// Requests of one intent.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kind {
    requests: u64,
    context: Vec<f64>,
    free: u64,
    plays: BTreeMap<ModelId, u64>,
}

impl Kind {
    fn add(&mut self, x: &[f32]) {
        self.requests += 1;
        self.context.resize(CONTEXT, 0.0);
        for (sum, &value) in self.context.iter_mut().zip(x) {
            *sum += f64::from(value);
        }
    }

    fn mean(&self) -> Vec<f32> {
        let n = self.requests.max(1) as f64;
        let mut mean: Vec<f32> = self.context.iter().map(|sum| (sum / n) as f32).collect();
        mean.resize(CONTEXT, 0.0);
        mean[0] = 1.0;
        mean
    }
}

/// The traffic that beliefs are shown on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    kinds: BTreeMap<String, Kind>,
    sample: Vec<Context>,
}

/// Contexts kept to compare two policies on.
const SAMPLED: usize = 2_000;

impl Traffic {
    /// The decisions among the events after this position. Requests of another feature map are counted, but say
    /// nothing of contexts.
    ///
    /// # Errors
    /// If the ledger cannot be read; an event that cannot be read is left out.
    pub fn read(ledger: &dyn Ledger, mut after: Offset, schema: &crate::base::SchemaId) -> Result<Self, LedgerError> {
        let mut traffic = Self::default();
        loop {
            let entries = match ledger.scan(after, STRIDE) {
                Ok(entries) => entries,
                Err(LedgerError::Corrupt { offset, .. }) if offset > after => {
                    after = offset;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(last) = entries.last() else { return Ok(traffic) };
            after = last.offset;
            for entry in &entries {
                let Event::Decided(decided) = &entry.event else { continue };
                let context = &decided.features.context;
                let known = context.schema == *schema && context.x.len() == CONTEXT;
                let intent = decided.features.intent.as_ref().map_or(NO_INTENT, |intent| intent.name.as_str());
                for name in [ALL, intent] {
                    let kind = traffic.kinds.entry(name.to_owned()).or_default();
                    if known {
                        kind.add(&context.x);
                    }
                    if let (Mode::Policy, Some(arm)) = (decided.mode, decided.arm()) {
                        kind.free += 1;
                        *kind.plays.entry(arm.model.clone()).or_default() += 1;
                    }
                }
                if known && traffic.sample.len() < SAMPLED {
                    traffic.sample.push(context.clone());
                }
            }
        }
    }

    /// In how many of these requests two policies expect the best answer of the same model; `None` without requests
    /// or models.
    #[must_use]
    pub fn agreement(&self, one: &Snapshot, other: &Snapshot) -> Option<f64> {
        let best = |policy: &Snapshot, context: &Context| {
            let quality = |model: &&ModelId| policy.quality(model, context).mean;
            policy.models().map(|(model, _)| model).max_by(|a, b| quality(a).total_cmp(&quality(b))).cloned()
        };
        let same = self.sample.iter().filter(|context| best(one, context) == best(other, context)).count();
        (!self.sample.is_empty() && one.models().next().is_some()).then(|| same as f64 / self.sample.len() as f64)
    }
}

/// One model on the requests of one intent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Likeness {
    /// The intent.
    pub intent: String,
    /// Requests of that intent that were read.
    pub requests: u64,
    /// The model.
    pub model: ModelId,
    /// The quality expected of it there on average, and how sure that is.
    pub quality: Estimate,
    /// Weight of the scores behind the model, over all intents.
    pub rows: f64,
    /// How often it was chosen there among those where the policy chose; `None` where it never did.
    pub played: Option<f64>,
}

impl Likeness {
    /// Where 95 % of the belief lie, within 0 and 1.
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        let Estimate { mean, sd } = self.quality;
        ((mean - 1.96 * sd).clamp(0.0, 1.0), (mean + 1.96 * sd).clamp(0.0, 1.0))
    }
}

/// A policy, drawn on some traffic: every intent, and in it every model, the best first.
#[must_use]
pub fn portrait(policy: &Snapshot, traffic: &Traffic) -> Vec<Likeness> {
    let nothing = BTreeMap::from([(ALL.to_owned(), Kind::default())]);
    let kinds = if traffic.kinds.is_empty() { &nothing } else { &traffic.kinds };
    let mut all = Vec::new();
    for (intent, kind) in kinds {
        let context =
            Context { schema: policy.schema().clone(), x: kind.mean(), origin: crate::embed::Origin::Encoder };
        let mut models: Vec<Likeness> = policy
            .models()
            .map(|(model, rows)| Likeness {
                intent: intent.clone(),
                requests: kind.requests,
                model: model.clone(),
                quality: policy.quality(model, &context),
                rows,
                played: (kind.free > 0).then(|| kind.plays.get(model).copied().unwrap_or(0) as f64 / kind.free as f64),
            })
            .collect();
        models.sort_by(|a, b| b.quality.mean.total_cmp(&a.quality.mean));
        all.extend(models);
    }
    all
}
