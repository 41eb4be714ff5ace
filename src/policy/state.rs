//! What was learned, as sums: owned by the learner, folded from the ledger's rows, merged by adding.
//!
//! Four regressions of one kind ([`super::regression`]) live here: quality and answer length per model, time to
//! the first token and total time per deployment. Every row is a plain addition of its own weight, so a late
//! label, a correction (take the old row away, add the new one) and another replica's learning are all sums,
//! and the same rows give the same bits whenever snapshots were taken in between.

use std::collections::BTreeMap;

use super::forgetting::Forgetting;
use super::sums::Sums;
use super::watch::{Added, Watch};
use super::{Config, Estimate, Snapshot};
use crate::base::{DeploymentId, Digest, ModelId, SchemaId, Timestamp};
use crate::chat::Usage;
use crate::features::{CONTEXT, Context};

/// How good one answer was.
#[derive(Clone, Copy, Debug)]
pub struct QualityRow<'a> {
    /// The model that answered.
    pub model: &'a ModelId,
    /// The context of the decision. Of another schema than the state's, it counts for the model's mean alone.
    pub context: &'a Context,
    /// The score, 0 to 1.
    pub y: f64,
    /// How much it counts: 1 for a full row, less for a noisy channel.
    pub weight: f64,
    /// When the request was decided; a late score weighs as one of that time.
    pub decided_at: Timestamp,
    /// The quality that was predicted for this model when the request was decided.
    pub predicted: Estimate,
}

/// How one call to a deployment went.
#[derive(Clone, Copy, Debug)]
pub struct CallRow<'a> {
    /// What was called.
    pub deployment: &'a DeploymentId,
    /// Its model.
    pub model: &'a ModelId,
    /// Estimated tokens of the prompt, as the policy is told before a choice.
    pub prompt_tokens: u32,
    /// Choices that were asked for; the tokens reported are those of all.
    pub choices: u32,
    /// Tokens the call reported.
    pub usage: Option<&'a Usage>,
    /// Milliseconds to the first content.
    pub first_token_ms: Option<f64>,
    /// Milliseconds to its end; `None` = it did not end well, so its time says nothing.
    pub total_ms: Option<f64>,
    /// Other requests in flight at the deployment when it was chosen.
    pub in_flight: u32,
    /// When it ended.
    pub at: Timestamp,
}

/// Why a stored state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes are not a state, or were damaged.
    #[error("this is no intact policy state: {0}; delete it, and it is made again from the ledger")]
    Damaged(&'static str),
    /// A format this version does not read.
    #[error("the policy state has format {found}, this version reads {expected}; make it again from the ledger")]
    Format {
        /// The format found.
        found: u16,
        /// The format this version writes.
        expected: u16,
    },
    /// It was learned with other half-lives.
    #[error("the policy state was learned with other half-lives than those in force; make it again from the ledger")]
    HalfLife,
    /// It was learned on another feature map.
    #[error(
        "the policy state was learned on features {found}, now in force are {expected}; make it again from the ledger with the features in force"
    )]
    Schema {
        /// The schema it was learned on.
        found: SchemaId,
        /// The schema in force.
        expected: SchemaId,
    },
}

/// Sums by key, all weighed by one clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pool<K: Ord> {
    pub(super) dimensions: usize,
    pub(super) forgetting: Forgetting,
    pub(super) sums: BTreeMap<K, Sums>,
}

impl<K: Ord + Clone> Pool<K> {
    fn new(dimensions: usize, half_life_hours: u32) -> Self {
        Self { dimensions, forgetting: Forgetting::new(half_life_hours), sums: BTreeMap::new() }
    }

    /// Moves the clock on; by what the sums were multiplied.
    fn advance(&mut self, at: Timestamp) -> f64 {
        let factor = self.forgetting.advance(at);
        if factor != 1.0 {
            self.sums.values_mut().for_each(|sums| sums.scale(factor));
        }
        factor
    }

    /// By what the own sums and the other's were multiplied.
    fn merge(&mut self, other: &Self) -> Result<(f64, f64), StateError> {
        if self.forgetting.half_life() != other.forgetting.half_life() {
            return Err(StateError::HalfLife);
        }
        let factor = self.forgetting.meet(other.forgetting);
        if factor.0 != 1.0 {
            self.sums.values_mut().for_each(|sums| sums.scale(factor.0));
        }
        for (key, sums) in &other.sums {
            self.sums.entry(key.clone()).or_insert_with(|| Sums::new(self.dimensions)).add_scaled(sums, factor.1);
        }
        Ok(factor)
    }

    fn add(&mut self, key: &K, at: Timestamp, weight: f64, x: &[f64], y: f64) {
        self.advance(at);
        let weight = weight * self.forgetting.weight(at);
        if let Some(sums) = self.sums.get_mut(key) {
            sums.add(weight, x, y);
        } else {
            let mut sums = Sums::new(self.dimensions);
            sums.add(weight, x, y);
            self.sums.insert(key.clone(), sums);
        }
    }
}

/// Everything learned.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(super) schema: SchemaId,
    pub(super) config: Config,
    /// Rows folded in, of every kind; names the state in events.
    pub(super) rows: u64,
    pub(super) quality: Pool<ModelId>,
    /// The watch on each model's answers.
    pub(super) watches: BTreeMap<ModelId, Watch>,
    pub(super) tokens: Pool<ModelId>,
    pub(super) first_token: Pool<DeploymentId>,
    pub(super) total: Pool<DeploymentId>,
}

impl State {
    /// Nothing learned yet, on this feature map.
    #[must_use]
    pub fn new(config: Config, schema: SchemaId) -> Self {
        let (slow, fast) = (config.half_life_hours(), config.latency_half_life_hours());
        Self {
            schema,
            config,
            rows: 0,
            quality: Pool::new(CONTEXT, slow),
            watches: BTreeMap::new(),
            tokens: Pool::new(2, slow),
            first_token: Pool::new(3, fast),
            total: Pool::new(4, fast),
        }
    }

    /// The feature map it learns on.
    #[must_use]
    pub const fn schema(&self) -> &SchemaId {
        &self.schema
    }

    /// The settings it learns and chooses with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The same sums, to choose by other settings.
    ///
    /// # Errors
    /// If the half-lives are others: those shape the sums.
    pub fn choosing_by(self, config: Config) -> Result<Self, StateError> {
        let half_lives = |config: &Config| (config.half_life, config.latency_half_life);
        if half_lives(&config) != half_lives(&self.config) {
            return Err(StateError::HalfLife);
        }
        Ok(Self { config, ..self })
    }

    /// Rows folded in so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Folds in a score.
    pub fn observe_quality(&mut self, row: &QualityRow<'_>) {
        self.rows += 1;
        self.add_quality(row, row.weight);
    }

    /// Takes a score away that was folded in before; the same row must be given.
    pub fn retract_quality(&mut self, row: &QualityRow<'_>) {
        self.rows += 1;
        self.add_quality(row, -row.weight);
    }

    fn add_quality(&mut self, row: &QualityRow<'_>, weight: f64) {
        if row.y.is_finite() && weight.is_finite() {
            let x = design(&self.schema, row.context);
            self.advance_quality(row.decided_at);
            let watch = self.watches.get_mut(row.model);
            let weight = weight * watch.as_ref().map_or(1.0, |watch| watch.left(row.decided_at));
            self.quality.add(row.model, row.decided_at, weight, &x, row.y);
            if let Some(watch) = watch {
                let weight = weight * self.quality.forgetting.weight(row.decided_at);
                watch.note(Added { weight, x: &x, y: row.y }, row.decided_at);
            }
        }
    }

    /// Moves the clock of the quality's sums on, and of the part of them that the watches keep.
    fn advance_quality(&mut self, at: Timestamp) {
        let factor = self.quality.advance(at);
        if factor != 1.0 {
            self.watches.values_mut().for_each(|watch| watch.scale(factor));
        }
    }

    /// Holds a score that was folded in, and is the first of its answer, beside what was predicted of it. `true`: the
    /// model has silently become worse, and what was learned of it before that weighs next to nothing from now on.
    pub fn watch(&mut self, row: &QualityRow<'_>) -> bool {
        let watch = match self.watches.get_mut(row.model) {
            Some(watch) => watch,
            None => self.watches.entry(row.model.clone()).or_default(),
        };
        let Some(sums) = self.quality.sums.get_mut(row.model) else { return false };
        let x = design(&self.schema, row.context);
        let weight = row.weight * self.quality.forgetting.weight(row.decided_at) * watch.left(row.decided_at);
        watch.see(row.predicted, row.weight, row.decided_at, Added { weight, x: &x, y: row.y }, sums)
    }

    /// Which models were found to have become worse, and from which decisions on.
    pub fn alarms(&self) -> impl Iterator<Item = (&ModelId, &[Timestamp])> {
        self.watches.iter().map(|(model, watch)| (model, watch.changes())).filter(|(_, changes)| !changes.is_empty())
    }

    /// Folds in a call: its answer's length and its times, as far as they are known.
    pub fn observe_call(&mut self, row: &CallRow<'_>) {
        self.rows += 1;
        let prompt = f64::from(row.prompt_tokens);
        let busy = f64::from(row.in_flight);
        let answer = row
            .usage
            .and_then(|usage| usage.completion_tokens)
            .map(|tokens| tokens as f64 / f64::from(row.choices.max(1)));
        if let Some(answer) = answer {
            self.tokens.add(row.model, row.at, 1.0, &tokens_design(prompt), (1.0 + answer).ln());
        }
        let seconds = |ms: f64| (ms.is_finite() && ms >= 0.0).then(|| (ms.max(0.1) / 1e3).ln());
        if let Some(y) = row.first_token_ms.and_then(seconds) {
            self.first_token.add(row.deployment, row.at, 1.0, &first_token_design(prompt, busy), y);
        }
        if let (Some(answer), Some(y)) = (answer, row.total_ms.and_then(seconds)) {
            self.total.add(row.deployment, row.at, 1.0, &total_design(prompt, busy, answer), y);
        }
    }

    /// Moves the clock of forgetting to this time, if it is later. Only ever to a time that stands in the ledger:
    /// then a replay does the same.
    pub fn decay_to(&mut self, at: Timestamp) {
        self.advance_quality(at);
        self.tokens.advance(at);
        self.first_token.advance(at);
        self.total.advance(at);
    }

    /// The learning of several replicas as one: a flat sum in the order of their names, so that the same parts
    /// give the same bits in whatever order they arrive. `None` where there are no parts.
    ///
    /// # Errors
    /// If two parts were learned on different feature maps or with different half-lives.
    pub fn merge<'a>(parts: impl IntoIterator<Item = (&'a str, &'a Self)>) -> Result<Option<Self>, StateError> {
        let parts: BTreeMap<&str, &Self> = parts.into_iter().collect();
        let mut parts = parts.into_values();
        let Some(first) = parts.next() else { return Ok(None) };
        let mut merged = first.clone();
        for part in parts {
            if part.schema != merged.schema {
                return Err(StateError::Schema { found: part.schema.clone(), expected: merged.schema });
            }
            merged.rows += part.rows;
            let (own, other) = merged.quality.merge(&part.quality)?;
            merged.watches.values_mut().for_each(|watch| watch.scale(own));
            for (model, watch) in &part.watches {
                let mut watch = watch.clone();
                watch.scale(other);
                merged.watches.entry(model.clone()).or_default().merge(watch);
            }
            merged.tokens.merge(&part.tokens)?;
            merged.first_token.merge(&part.first_token)?;
            merged.total.merge(&part.total)?;
        }
        Ok(Some(merged))
    }

    /// What serves: the beliefs that follow from the sums.
    #[must_use]
    pub fn publish(&self) -> Snapshot {
        Snapshot::of(self)
    }

    pub(super) fn digest_of_config(&self) -> Digest {
        Digest::of_json(&self.config)
    }
}

/// The numbers the quality regression sees: the context, or the bias alone where the context is of another schema.
pub(super) fn design(schema: &SchemaId, context: &Context) -> [f64; CONTEXT] {
    let mut x = [0.0; CONTEXT];
    x[0] = 1.0;
    if context.schema == *schema && context.x.len() == CONTEXT && context.x.iter().all(|value| value.is_finite()) {
        for (to, &from) in x.iter_mut().zip(&context.x) {
            *to = f64::from(from);
        }
    }
    x
}

pub(super) fn tokens_design(prompt_tokens: f64) -> [f64; 2] {
    [1.0, prompt_tokens.ln_1p() - 5.0]
}

pub(super) fn first_token_design(prompt_tokens: f64, in_flight: f64) -> [f64; 3] {
    [1.0, prompt_tokens.ln_1p() - 5.0, in_flight.ln_1p()]
}

pub(super) fn total_design(prompt_tokens: f64, in_flight: f64, answer_tokens: f64) -> [f64; 4] {
    [1.0, prompt_tokens.ln_1p() - 5.0, in_flight.ln_1p(), answer_tokens.ln_1p() - 5.0]
}
