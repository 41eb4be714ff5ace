//! Rounds from the ledger: what was decided, joined with what it was worth.
//!
//! [`Log`] reads the events once, in their order, and keeps of each decision what an evaluation needs, with every name
//! stored once: some 500 bytes. It holds a bounded number of decisions, the latest; so its memory does not grow with
//! the ledger.
//!
//! Only decisions that were left to chance can be weighed, and only those whose answer somebody judged; when a
//! fallback answered, the answer is another arm's. All of these are left out and counted. That somebody judges an
//! answer may depend on the request, but must not depend on which model answered beside the quality of the answer;
//! the report shows the share that was judged of each model's answers, so that this can be seen.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::base::{DecisionId, DeploymentId, ModelId, SchemaId, Score, TenantId, Timestamp, Usd};
use crate::cache::CacheOutcome;
use crate::chat::Usage;
use crate::embed::Compact;
use crate::features::{Context, FeatureMap};
use crate::learn::Channels;
use crate::ledger::{Completed, Decided, Event, Feedback, Mode, Offset, Outcome};
use crate::policy::pacer::Pace;
use crate::policy::{Explore, Preferences, PromptCache};

/// A candidate of a logged decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// The model.
    pub model: ModelId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// Requests in flight there.
    pub in_flight: u32,
    /// The probability it was drawn with.
    pub propensity: f64,
    /// What of the prompt was expected to be in its provider's prompt cache.
    pub prompt_cache: PromptCache,
    /// The model that it was taken to be like.
    pub like: Option<ModelId>,
}

/// A decision, and what came of it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Which.
    pub id: DecisionId,
    /// When it was made.
    pub at: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// What the prompt was taken to want.
    pub intent: Option<Arc<str>>,
    /// The context.
    pub context: Context,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Cap on the answer's tokens.
    pub max_tokens: Option<u32>,
    /// How many choices it was to have.
    pub choices: u32,
    /// What the caller wanted.
    pub preferences: Preferences,
    /// What the budgets asked of the choice.
    pub pace: Pace,
    /// The candidates.
    pub arms: Box<[Arm]>,
    /// The one drawn.
    pub chosen: usize,
    /// `model` as asked for.
    pub asked: Arc<str>,
    /// What the answer cost, US dollars; `None` = unknown.
    pub cost: Option<f64>,
    /// Tokens of the answer the client got; `None` = unknown, or an answer of another arm than the drawn one.
    pub usage: Option<Usage>,
    /// Whether it was left to chance.
    explored: bool,
    ended: bool,
    /// The arm whose answer the client has, whole and fresh.
    answered: Option<usize>,
    /// The latest score of each channel, by the channel's number.
    scores: Vec<(u16, Score)>,
    /// The keys of the feedback taken in.
    keys: Vec<String>,
    /// The prompt's vector, where the log was asked to keep vectors and the ledger has it.
    pub vector: Option<Compact>,
}

impl Logged {
    /// The model whose answer the client has, whole and fresh.
    #[must_use]
    pub fn answerer(&self) -> Option<&ModelId> {
        self.answered.map(|arm| &self.arms[arm].model)
    }
}

/// What counts as the worth of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reward {
    /// All channels together, as the policy learns from them, where they weigh at least so much. Checks of form weigh
    /// little when they pass: alone they would make every answer look alike.
    Combined {
        /// The least weight, 0 to 1.
        least_weight: f64,
    },
    /// The scores of one channel, as they are.
    Channel(String),
}

impl Default for Reward {
    fn default() -> Self {
        Self::Combined { least_weight: 0.3 }
    }
}

impl std::fmt::Display for Reward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Combined { least_weight } => {
                write!(f, "all channels together, where they weigh at least {least_weight}")
            }
            Self::Channel(name) => write!(f, "the channel `{name}`"),
        }
    }
}

/// How many decisions were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The caller named the model or forbade exploring, or there was one candidate: no chance was in it.
    pub not_explored: u64,
    /// Nobody judged the answer (or hardly), or there was none.
    pub not_judged: u64,
    /// Another arm than the drawn one answered.
    pub fallback: u64,
    /// Older than the latest that are kept.
    pub too_old: u64,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { not_explored, not_judged, fallback, too_old } = self;
        write!(
            f,
            "left out: {not_judged} that nobody judged, {not_explored} where nothing was left to chance, {fallback} \
             that a fallback answered"
        )?;
        if *too_old > 0 { write!(f, ", {too_old} too old") } else { Ok(()) }
    }
}

/// The latest decisions of a ledger, joined with their outcomes.
#[derive(Debug)]
pub struct Log {
    capacity: usize,
    /// How decisions of another feature map are seen.
    map: Option<Arc<FeatureMap>>,
    keeps_vectors: bool,
    logged: VecDeque<Logged>,
    /// The number of the first decision that is kept; they are numbered from 0 in the order of the ledger.
    first: u64,
    numbers: HashMap<DecisionId, u64>,
    names: BTreeSet<Arc<str>>,
    channels: Vec<String>,
    last: Offset,
}

impl Log {
    /// An empty log that keeps so many decisions, the latest.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            map: None,
            keeps_vectors: false,
            logged: VecDeque::new(),
            first: 0,
            numbers: HashMap::new(),
            names: BTreeSet::new(),
            channels: Vec::new(),
            last: 0,
        }
    }

    /// The same, through this feature map: a context of another one is made anew from the logged vector, if there is
    /// one.
    #[must_use]
    pub fn seeing(self, map: Option<Arc<FeatureMap>>) -> Self {
        Self { map, ..self }
    }

    /// The same, with the logged vectors: 400 bytes more a decision.
    #[must_use]
    pub fn keeping_vectors(self) -> Self {
        Self { keeps_vectors: true, ..self }
    }

    /// Takes in the next event of the ledger. What is said of a decision that is not kept changes nothing.
    pub fn add(&mut self, offset: Offset, event: &Event) {
        self.last = offset;
        match event {
            Event::Decided(decided) => self.open(decided),
            Event::Completed(completed) => {
                if let Some(at) = self.place(completed.id) {
                    complete(&mut self.logged[at], &mut self.channels, completed);
                }
            }
            Event::Feedback(feedback) => {
                if let Some(at) = self.place(feedback.decision) {
                    judge(&mut self.logged[at], &mut self.channels, feedback);
                }
            }
        }
    }

    /// The position of the last event taken in.
    #[must_use]
    pub const fn last(&self) -> Offset {
        self.last
    }

    /// The decisions that are kept, in the order of the ledger.
    #[must_use]
    pub fn decisions(&self) -> impl ExactSizeIterator<Item = &Logged> {
        self.logged.iter()
    }

    /// The channels that spoke, in the order they first did.
    #[must_use]
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// The feature map of the latest decision; `None` = there is none.
    #[must_use]
    pub fn schema(&self) -> Option<&SchemaId> {
        self.logged.back().map(|logged| &logged.context.schema)
    }

    /// The decisions that can be weighed, each with its reward, in the order of time; and how many were left out.
    #[must_use]
    pub fn judged(&self, reward: &Reward, channels: &Channels) -> (Vec<(&Logged, f64)>, LeftOut) {
        let mut left_out = LeftOut { too_old: self.first, ..LeftOut::default() };
        let mut judged = Vec::new();
        for logged in &self.logged {
            let worth = self.reward(logged, reward, channels);
            match worth {
                _ if !logged.explored => left_out.not_explored += 1,
                None => left_out.not_judged += 1,
                Some(_) if logged.answered != Some(logged.chosen) => left_out.fallback += 1,
                Some(worth) => judged.push((logged, worth)),
            }
        }
        // A clock that was set back must not mix what came before with what came after.
        judged.sort_by_key(|(logged, _)| logged.at);
        (judged, left_out)
    }

    /// The decisions of chance whose drawn arm answered, judged or not, in the order of the ledger.
    #[must_use]
    pub fn answered(&self) -> Vec<&Logged> {
        let drawn = |logged: &&Logged| logged.explored && logged.answered == Some(logged.chosen);
        self.logged.iter().filter(drawn).collect()
    }

    /// What this answer was worth; `None` while nobody said so.
    #[must_use]
    pub fn reward(&self, logged: &Logged, reward: &Reward, channels: &Channels) -> Option<f64> {
        logged.answered?;
        match reward {
            Reward::Combined { least_weight } => {
                let (quality, weight) = self.combined(logged, channels)?;
                (weight >= *least_weight).then_some(quality)
            }
            Reward::Channel(name) => {
                let number = self.channels.iter().position(|channel| channel == name)?;
                logged.scores.iter().find(|(channel, _)| usize::from(*channel) == number).map(|(_, score)| score.get())
            }
        }
    }

    /// Quality and weight of all channels together.
    pub(super) fn combined(&self, logged: &Logged, channels: &Channels) -> Option<(f64, f64)> {
        // In the order of their names, as the learner adds them up.
        let by_name: BTreeMap<&str, Score> = logged
            .scores
            .iter()
            .map(|(channel, score)| (self.channels[usize::from(*channel)].as_str(), *score))
            .collect();
        channels.combine(by_name)
    }

    /// Of every model's whole answers to decisions of chance, how many there were and how many were judged.
    #[must_use]
    pub fn judged_of_model(&self, reward: &Reward, channels: &Channels) -> BTreeMap<ModelId, (u64, u64)> {
        let mut counts: BTreeMap<ModelId, (u64, u64)> = BTreeMap::new();
        for logged in self.logged.iter().filter(|logged| logged.explored) {
            if let Some(arm) = logged.answered {
                let count = counts.entry(logged.arms[arm].model.clone()).or_default();
                count.0 += 1;
                count.1 += u64::from(self.reward(logged, reward, channels).is_some());
            }
        }
        counts
    }

    fn open(&mut self, decided: &Decided) {
        if self.numbers.contains_key(&decided.id) {
            return;
        }
        let logged = self.logged_of(decided);
        self.numbers.insert(decided.id, self.first + self.logged.len() as u64);
        self.logged.push_back(logged);
        if self.logged.len() > self.capacity
            && let Some(oldest) = self.logged.pop_front()
        {
            self.numbers.remove(&oldest.id);
            self.first += 1;
        }
    }

    fn logged_of(&mut self, decided: &Decided) -> Logged {
        let arms = decided
            .arms
            .iter()
            .map(|arm| Arm {
                model: ModelId::new(self.name(arm.model.as_str())),
                deployment: DeploymentId::new(self.name(arm.deployment.as_str())),
                in_flight: arm.in_flight,
                propensity: arm.propensity,
                prompt_cache: arm.prompt_cache,
                like: arm.like.as_ref().map(|like| ModelId::new(self.name(like.as_str()))),
            })
            .collect();
        Logged {
            id: decided.id,
            at: decided.at,
            tenant: TenantId::new(self.name(decided.tenant.as_str())),
            intent: decided.features.intent.as_ref().map(|intent| self.name(&intent.name)),
            context: {
                let context = &decided.features.context;
                let seen = match &self.map {
                    Some(map) => map.sees(context, decided.vector.as_ref()).into_owned(),
                    None => context.clone(),
                };
                Context { schema: SchemaId::new(self.name(seen.schema.as_str())), ..seen }
            },
            prompt_tokens: decided.features.needs.prompt_tokens,
            max_tokens: decided.features.needs.max_tokens,
            choices: decided.features.needs.choices,
            preferences: decided.preferences,
            pace: decided.pace(),
            chosen: decided.chosen,
            explored: decided.mode == Mode::Policy
                && decided.preferences.explore != Explore::Never
                && decided.arm().is_some_and(|arm| arm.propensity > 0.0),
            arms,
            asked: self.name(&decided.asked),
            cost: None,
            usage: None,
            ended: false,
            answered: None,
            scores: Vec::new(),
            keys: Vec::new(),
            vector: decided.vector.clone().filter(|_| self.keeps_vectors),
        }
    }

    fn place(&self, id: DecisionId) -> Option<usize> {
        self.numbers.get(&id).map(|number| (number - self.first) as usize)
    }

    /// The same text, stored once.
    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// The rules of `learn::case`, on what is kept here; a test holds the two to each other.
fn complete(logged: &mut Logged, channels: &mut Vec<String>, completed: &Completed) {
    if logged.ended || completed.tenant != logged.tenant {
        return;
    }
    logged.ended = true;
    logged.cost = completed.cost_usd.map(Usd::get);
    let fresh = matches!(completed.cache, CacheOutcome::Miss | CacheOutcome::Bypass);
    if fresh && completed.outcome == Outcome::Served {
        let model = completed.model.as_ref();
        logged.answered = model.and_then(|model| logged.arms.iter().position(|arm| arm.model == *model));
        logged.usage = completed.usage.filter(|_| logged.answered == Some(logged.chosen));
    }
    for record in &completed.scores {
        let channel = number_of(channels, &record.channel);
        if !logged.scores.iter().any(|(known, _)| *known == channel) {
            logged.scores.push((channel, record.score));
        }
    }
}

fn judge(logged: &mut Logged, channels: &mut Vec<String>, feedback: &Feedback) {
    if feedback.tenant != logged.tenant {
        return;
    }
    if let Some(key) = &feedback.key {
        if logged.keys.contains(key) {
            return;
        }
        logged.keys.push(key.clone());
    }
    if let Some(score) = feedback.score {
        let channel = number_of(channels, &feedback.channel);
        match logged.scores.iter_mut().find(|(known, _)| *known == channel) {
            Some(known) => known.1 = score,
            None => logged.scores.push((channel, score)),
        }
    }
}

/// Callers name channels; beyond so many the rest share a name, so that the numbers stay small.
const CHANNELS: usize = 1_000;

fn number_of(channels: &mut Vec<String>, name: &str) -> u16 {
    if let Some(number) = channels.iter().position(|channel| channel == name) {
        return number as u16;
    }
    let name = if channels.len() >= CHANNELS { "other channels" } else { name };
    if let Some(number) = channels.iter().position(|channel| channel == name) {
        return number as u16;
    }
    channels.push(name.to_owned());
    (channels.len() - 1) as u16
}
