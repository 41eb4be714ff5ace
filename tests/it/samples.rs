//! Events for tests: small, varied, and made from numbers so that a property can shrink them.

use std::collections::BTreeMap;
use std::path::Path;

use pointsman::base::{
    DecisionId, DeploymentId, Digest, Kind, ModelId, SchemaId, Score, Seed, TenantId, Timestamp, Usd,
};
use pointsman::cache::CacheOutcome;
use pointsman::catalog::Capability;
use pointsman::chat::{Endpoint, FinishReason, Usage};
use pointsman::dispatch::Attempt;
use pointsman::embed::Origin;
use pointsman::features::{CONTEXT, Context, Features, Intent, Needs};
use pointsman::learn::{Kept, Snapshots, Versions};
use pointsman::ledger::{ArmRecord, Completed, Decided, Event, Feedback, Mode, Outcome, ScoreRecord};
use pointsman::policy::{CostWeight, Estimate, Exclusion, Explore, Prediction, Preferences, PromptCache};

/// The feature map of all samples.
pub(crate) const SCHEMA: &str = "samples/1";

/// The three models of all samples.
pub(crate) const MODELS: [&str; 3] = ["acme/small", "acme/large", "other/medium"];

/// The tenant of all samples.
pub(crate) const TENANT: &str = "team";

pub(crate) fn schema() -> SchemaId {
    SCHEMA.into()
}

/// The name of the `n`-th decision.
pub(crate) fn id(n: u64) -> DecisionId {
    DecisionId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)))
}

/// The context of the `n`-th request.
pub(crate) fn context(n: u64) -> Context {
    let mut x: Vec<f32> =
        (0..CONTEXT).map(|i| (Seed(n).uniform(&format!("x{i}")) as f32 - 0.5) * std::f32::consts::FRAC_1_PI).collect();
    x[0] = 1.0;
    Context { schema: schema(), x, origin: Origin::Encoder }
}

pub(crate) fn decided(n: u64, at: Timestamp) -> Decided {
    let arms = MODELS.iter().enumerate().map(|(i, model)| ArmRecord {
        model: (*model).into(),
        deployment: format!("{model}@1").into(),
        in_flight: (n % 7) as u32,
        propensity: [0.7, 0.2, 0.1][i],
        prompt_cache: PromptCache::default(),
        like: None,
        prediction: Prediction {
            quality: Estimate { mean: Seed(n).uniform("quality"), sd: 0.1 },
            cost: (i != 2).then_some(Estimate { mean: 1e-4 * (i + 1) as f64, sd: 1e-5 }),
            latency: None,
            utility: 0.1 + 0.2 * i as f64,
        },
    });
    Decided {
        id: id(n),
        at,
        tenant: TENANT.into(),
        endpoint: Endpoint::ChatCompletions,
        asked: "auto".to_owned(),
        features: Features {
            context: context(n),
            needs: Needs {
                capabilities: vec![Capability::Tools],
                prompt_tokens: 20 + (n % 500) as u32,
                ..Needs::default()
            },
            intent: Some(Intent { name: "code".to_owned(), probability: 0.1 + 0.2 }),
            complexity: Some(1.0 / 3.0),
            language: Some("eng".to_owned()),
        },
        vector: None,
        preferences: Preferences {
            cost: CostWeight::PerUsd(100.0),
            max_cost: Some(Usd(0.1)),
            explore: Explore::Floor,
            ..Preferences::BALANCED
        },
        arms: arms.collect(),
        excluded: BTreeMap::from([(DeploymentId::from("blind@1"), Exclusion::Lacks(Capability::Vision))]),
        chosen: (n % 3) as usize,
        greedy: 0,
        mode: Mode::Policy,
        seed: Seed(u64::MAX - n),
        policy: "thompson".to_owned(),
        catalog: Digest::of(b"catalogue"),
        config: Digest::of(b"configuration"),
        trial: None,
        budgets: Vec::new(),
        guard: None,
    }
}

/// A whole fresh answer of this model, with these scores.
pub(crate) fn completed(n: u64, at: Timestamp, model: usize, scores: &[(&str, f64)]) -> Completed {
    let usage = Usage { prompt_tokens: Some(20), completion_tokens: Some(100 + n % 400), ..Usage::default() };
    let deployment = DeploymentId::from(format!("{}@1", MODELS[model]));
    Completed {
        id: id(n),
        at,
        tenant: TENANT.into(),
        outcome: Outcome::Served,
        stream: n.is_multiple_of(2),
        cache: CacheOutcome::Miss,
        reuse: None,
        background: false,
        served: Some(deployment.clone()),
        model: Some(ModelId::from(MODELS[model])),
        attempts: vec![Attempt {
            deployment,
            error: None,
            status: Some(200),
            first_token_ms: Some(100.0 + (n % 50) as f64),
            total_ms: 1_000.0 + (n % 500) as f64,
            usage: Some(usage),
            usage_estimated: false,
            cost_usd: Some(Usd(1e-4)),
        }],
        usage: Some(usage),
        usage_estimated: false,
        cost_usd: Some(Usd(1e-4)),
        first_token_ms: Some(101.0),
        total_ms: 1_002.5,
        overhead_ms: 0.3,
        finish_reason: Some(FinishReason::Stop),
        response_id: Some(format!("chatcmpl-{n}")),
        scores: scores
            .iter()
            .map(|&(channel, value)| ScoreRecord { channel: channel.to_owned(), score: score(value) })
            .collect(),
        budgets: Vec::new(),
    }
}

/// The same request, failed at its only deployment.
pub(crate) fn failed(n: u64, at: Timestamp) -> Completed {
    let mut event = completed(n, at, 0, &[]);
    event.outcome = Outcome::Failed(Kind::UpstreamTimeout);
    event.served = None;
    event.model = None;
    event.attempts[0].error = Some(Kind::UpstreamTimeout);
    event.attempts[0].first_token_ms = None;
    event.attempts[0].usage = None;
    event
}

pub(crate) fn feedback(n: u64, at: Timestamp, channel: &str, value: f64, key: Option<&str>) -> Feedback {
    Feedback {
        decision: id(n),
        at,
        tenant: TenantId::from(TENANT),
        channel: channel.to_owned(),
        score: Some(score(value)),
        comment: None,
        key: key.map(str::to_owned),
    }
}

pub(crate) fn score(value: f64) -> Score {
    Score::new(value).expect("a score from 0 to 1")
}

/// The three kinds, boxed.
pub(crate) fn event(of: impl Into<Sample>) -> Event {
    match of.into() {
        Sample::Decided(event) => Event::Decided(event),
        Sample::Completed(event) => Event::Completed(event),
        Sample::Feedback(event) => Event::Feedback(event),
    }
}

/// What [`event`] takes.
pub(crate) enum Sample {
    Decided(Box<Decided>),
    Completed(Box<Completed>),
    Feedback(Box<Feedback>),
}

impl From<Decided> for Sample {
    fn from(event: Decided) -> Self {
        Self::Decided(Box::new(event))
    }
}

impl From<Completed> for Sample {
    fn from(event: Completed) -> Self {
        Self::Completed(Box::new(event))
    }
}

impl From<Feedback> for Sample {
    fn from(event: Feedback) -> Self {
        Self::Feedback(Box::new(event))
    }
}

/// Snapshots, and versions beside them.
pub(crate) fn kept(snapshots: Snapshots, folder: &Path) -> Kept {
    Kept { snapshots, versions: Versions::of_data(folder) }
}
