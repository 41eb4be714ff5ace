//! One decision with everything said of it so far: where late labels meet what they are labels of.
//!
//! A case is made by applying the decision's events in the order of the ledger, so it can be made again from the
//! ledger at any time. That is why the cases in memory may be few: which ones are there changes how much must be
//! looked up, never what comes out.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::channels::Channels;
use super::versions::Base;
use crate::base::{DecisionId, DeploymentId, ModelId, Score, TenantId, Timestamp};
use crate::cache::CacheOutcome;
use crate::features::{Context, FeatureMap};
use crate::ledger::{Completed, Decided, Entry, Event, Feedback, Ledger, LedgerError, Outcome};
use crate::policy::{CallRow, Estimate, QualityRow};

/// A decision and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    tenant: TenantId,
    at: Timestamp,
    context: Context,
    prompt_tokens: u32,
    choices: u32,
    arms: Vec<Arm>,
    /// How it ended, once it has.
    end: Option<End>,
    /// The latest score of each channel.
    scores: BTreeMap<String, Score>,
    /// The keys of the feedback taken in.
    keys: Vec<String>,
    /// The standing that is in the sums.
    pub(super) learned: Option<Judged>,
}

#[derive(Clone, Debug)]
struct Arm {
    model: ModelId,
    deployment: DeploymentId,
    in_flight: u32,
    predicted: Estimate,
}

#[derive(Clone, Debug)]
struct End {
    /// The model whose answer the client has, whole and fresh; its scores are scores of that model.
    scored: Option<ModelId>,
}

/// How an answer was judged, all channels together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Index into the decision's arms of the model that answered.
    pub arm: usize,
    /// How good the answer was, 0 to 1.
    pub quality: f64,
    /// How much that word weighs, 0 to 1.
    pub weight: f64,
}

/// How the answer to a decision was judged, by everything the ledger holds of it; `None` while there is no whole
/// fresh answer that anybody judged.
///
/// # Errors
/// If the ledger cannot be read.
pub fn judged(ledger: &dyn Ledger, id: DecisionId, channels: &Channels) -> Result<Option<Judged>, LedgerError> {
    let case = Case::look_up(ledger, id, crate::ledger::Offset::MAX, (channels, &Base::default(), None))?;
    Ok(case.and_then(|case| case.standing(channels)))
}

impl Case {
    pub(super) fn open(decided: &Decided, map: Option<&FeatureMap>) -> Self {
        let arm = |arm: &crate::ledger::ArmRecord| Arm {
            model: arm.model.clone(),
            deployment: arm.deployment.clone(),
            in_flight: arm.in_flight,
            predicted: arm.prediction.quality,
        };
        Self {
            tenant: decided.tenant.clone(),
            at: decided.at,
            context: match map {
                Some(map) => map.sees(&decided.features.context, decided.vector.as_ref()).into_owned(),
                None => decided.features.context.clone(),
            },
            prompt_tokens: decided.features.needs.prompt_tokens,
            choices: decided.features.needs.choices,
            arms: decided.arms.iter().map(arm).collect(),
            end: None,
            scores: BTreeMap::new(),
            keys: Vec::new(),
            learned: None,
        }
    }

    /// The case as the ledger has it before `offset`; `None` if nothing was decided by then. What of it is in the sums
    /// depends on which events the learner passes over.
    pub(super) fn look_up(
        ledger: &dyn Ledger,
        id: DecisionId,
        before: crate::ledger::Offset,
        (channels, base, map): (&Channels, &Base, Option<&FeatureMap>),
    ) -> Result<Option<Self>, LedgerError> {
        let mut case = None;
        for Entry { offset, event, .. } in ledger.of_decision(id)?.iter().filter(|entry| entry.offset < before) {
            match (event, &mut case) {
                (Event::Decided(decided), case) => *case = Some(Self::open(decided, map)),
                // Said of a decision that is not known: nothing to learn on.
                (_, None) => {}
                (Event::Completed(completed), Some(case)) => {
                    case.complete(completed);
                }
                (Event::Feedback(feedback), Some(case)) => case.judge(feedback),
            }
            if let Some(case) = &mut case
                && base.holds(*offset)
            {
                case.learned = case.standing(channels);
            }
        }
        Ok(case)
    }

    /// Takes in how it ended; `false` if it had ended already.
    pub(super) fn complete(&mut self, completed: &Completed) -> bool {
        if self.end.is_some() || completed.tenant != self.tenant {
            return false;
        }
        let fresh = matches!(completed.cache, CacheOutcome::Miss | CacheOutcome::Bypass);
        let whole = completed.outcome == Outcome::Served;
        // An answer from the cache, one that broke off or that the client did not wait for, and an error of the
        // provider say nothing of how good the model's answer would have been.
        let scored = if fresh && whole { completed.model.clone() } else { None };
        self.end = Some(End { scored });
        for record in &completed.scores {
            // What somebody said in the meantime stands above what is said here.
            self.scores.entry(record.channel.clone()).or_insert(record.score);
        }
        true
    }

    /// Takes in a judgement. One with a key that was seen, of another tenant, or without a score changes nothing.
    pub(super) fn judge(&mut self, feedback: &Feedback) {
        if feedback.tenant != self.tenant {
            return;
        }
        if let Some(key) = &feedback.key {
            if self.keys.contains(key) {
                return;
            }
            self.keys.push(key.clone());
        }
        if let Some(score) = feedback.score {
            self.scores.insert(feedback.channel.clone(), score);
        }
    }

    /// The quality row the case makes as it stands; `None` while there is no scored answer.
    pub(super) fn standing(&self, channels: &Channels) -> Option<Judged> {
        let model = self.end.as_ref()?.scored.as_ref()?;
        // A model that was no candidate has no logged prediction to learn against.
        let arm = self.arms.iter().position(|arm| arm.model == *model)?;
        let (quality, weight) = channels.combine(self.scores.iter().map(|(name, score)| (name.as_str(), *score)))?;
        Some(Judged { arm, quality, weight })
    }

    /// The row of a standing of this case.
    pub(super) fn row(&self, standing: Judged) -> QualityRow<'_> {
        let arm = &self.arms[standing.arm];
        QualityRow {
            model: &arm.model,
            context: &self.context,
            y: standing.quality,
            weight: standing.weight,
            decided_at: self.at,
            predicted: arm.predicted,
        }
    }

    /// What the calls of the request say of answer lengths and times.
    pub(super) fn calls<'a>(&'a self, completed: &'a Completed) -> impl Iterator<Item = CallRow<'a>> {
        let waited = matches!(completed.outcome, Outcome::Served);
        completed.attempts.iter().filter_map(move |attempt| {
            let arm = self.arms.iter().find(|arm| arm.deployment == attempt.deployment);
            let served = completed.served.as_ref() == Some(&attempt.deployment);
            let model = arm.map(|arm| &arm.model).or(if served { completed.model.as_ref() } else { None })?;
            // Cut short, by whomever: neither its length nor its time is that of a whole answer.
            let whole = waited && attempt.error.is_none();
            // Times are learned against how busy the deployment was, which is known of the candidates only.
            let timed = arm.is_some();
            let row = CallRow {
                deployment: &attempt.deployment,
                model,
                prompt_tokens: self.prompt_tokens,
                choices: self.choices,
                usage: if whole { attempt.usage.as_ref() } else { None },
                first_token_ms: if timed { attempt.first_token_ms } else { None },
                total_ms: if timed && whole { Some(attempt.total_ms) } else { None },
                in_flight: arm.map_or(0, |arm| arm.in_flight),
                at: completed.at,
            };
            (row.usage.is_some() || row.first_token_ms.is_some() || row.total_ms.is_some()).then_some(row)
        })
    }
}

/// The latest cases, a bounded number of them.
#[derive(Debug)]
pub(super) struct Cases {
    capacity: usize,
    known: HashMap<DecisionId, Case>,
    order: VecDeque<DecisionId>,
}

impl Cases {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, known: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    pub(super) fn get_mut(&mut self, id: DecisionId) -> Option<&mut Case> {
        self.known.get_mut(&id)
    }

    pub(super) fn put(&mut self, id: DecisionId, case: Case) {
        if self.capacity == 0 {
            return;
        }
        if self.known.insert(id, case).is_none() {
            self.order.push_back(id);
            if self.order.len() > self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}
