//! A line of another gateway's log, as the events it would have made here.

use bytes::Bytes;
use jiff::Timestamp as Moment;
use serde_json::{Value, json};

use crate::base::{DecisionId, DeploymentId, Digest, Kind, ModelId, Score, Seed, TenantId, Timestamp, Usd};
use crate::cache::CacheOutcome;
use crate::chat::{ChatRequest, Endpoint, Usage};
use crate::dispatch::Attempt;
use crate::embed::{Origin, hashing};
use crate::features::{CONTEXT, Context, Extractor, Features, Needs};
use crate::ledger::{ArmRecord, Completed, Decided, Event, Feedback, Mode, Outcome};
use crate::policy::{Estimate, Prediction, Preferences, PromptCache};

/// What names the policy of such a decision.
const POLICY: &str = "imported";

/// Reads a line.
///
/// # Errors
/// What it lacks, in words.
pub(super) fn events(line: &Value, extractor: &Extractor) -> Result<Vec<(Timestamp, Event)>, String> {
    let facts = Facts::read(line)?;
    let id = DecisionId(uuid::Uuid::from_bytes(*Digest::of_json(line).as_bytes()));
    let tenant = TenantId::from(facts.tenant);
    let model = ModelId::from(facts.model.as_str());
    let deployment = DeploymentId::from(format!("{}@{POLICY}", facts.model));
    let features = facts.features(extractor);
    let at = facts.start;
    let decided = Decided {
        id,
        at,
        tenant: tenant.clone(),
        endpoint: Endpoint::ChatCompletions,
        asked: facts.model.clone(),
        features,
        vector: None,
        preferences: Preferences::default(),
        arms: vec![ArmRecord {
            model: model.clone(),
            deployment: deployment.clone(),
            in_flight: 0,
            propensity: 1.0,
            prompt_cache: PromptCache::default(),
            like: None,
            prediction: Prediction {
                quality: Estimate { mean: 0.5, sd: 0.5 },
                cost: None,
                latency: None,
                utility: 0.5,
            },
        }],
        excluded: Default::default(),
        chosen: 0,
        greedy: 0,
        // Whoever chose did it elsewhere: here it counts as named by the caller, which no evaluation looks at.
        mode: Mode::Pinned,
        seed: Seed(0),
        policy: POLICY.to_owned(),
        catalog: Digest::of(b""),
        config: Digest::of(b""),
        trial: None,
        budgets: Vec::new(),
        guard: None,
    };
    let total_ms = facts.end.since(at).as_secs_f64() * 1e3;
    let outcome = if facts.failed { Outcome::Failed(Kind::UpstreamUnavailable) } else { Outcome::Served };
    let completed = Completed {
        id,
        at: facts.end,
        tenant: tenant.clone(),
        outcome,
        stream: facts.first_token_ms.is_some(),
        cache: CacheOutcome::Bypass,
        reuse: None,
        background: false,
        served: Some(deployment.clone()).filter(|_| !facts.failed),
        model: Some(model).filter(|_| !facts.failed),
        attempts: vec![Attempt {
            deployment,
            error: facts.failed.then_some(Kind::UpstreamUnavailable),
            status: None,
            first_token_ms: facts.first_token_ms,
            total_ms,
            usage: facts.usage,
            usage_estimated: false,
            cost_usd: facts.cost,
        }],
        usage: facts.usage,
        usage_estimated: false,
        cost_usd: facts.cost,
        first_token_ms: facts.first_token_ms,
        total_ms,
        overhead_ms: 0.0,
        finish_reason: None,
        response_id: facts.response_id,
        scores: Vec::new(),
        budgets: Vec::new(),
    };
    let mut events = vec![(at, Event::Decided(Box::new(decided))), (facts.end, Event::Completed(Box::new(completed)))];
    if let Some(score) = facts.score {
        let at = facts.end;
        let (channel, score) = ("user".to_owned(), Some(score));
        let feedback = Feedback { decision: id, at, tenant, channel, score, comment: None, key: None };
        events.push((at, Event::Feedback(Box::new(feedback))));
    }
    Ok(events)
}

/// What a line says, under whichever name.
struct Facts<'a> {
    model: String,
    tenant: &'a str,
    start: Timestamp,
    end: Timestamp,
    first_token_ms: Option<f64>,
    usage: Option<Usage>,
    cost: Option<Usd>,
    score: Option<Score>,
    failed: bool,
    messages: Option<&'a Value>,
    response_id: Option<String>,
}

impl<'a> Facts<'a> {
    fn read(line: &'a Value) -> Result<Self, String> {
        let places = [Some(line), line.get("request"), line.get("response"), line.get("kwargs"), line.get("metadata")];
        let find = |names: &[&str]| -> Option<&'a Value> {
            let of = |place: &'a Value| names.iter().find_map(|name| place.get(*name).filter(|value| !value.is_null()));
            places.iter().flatten().find_map(|place| of(place))
        };
        let text = |names: &[&str]| find(names).and_then(Value::as_str).filter(|text| !text.is_empty());
        let number = |names: &[&str]| {
            let value = find(names)?;
            value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite())
        };
        let model = text(&["model"]).ok_or("it names no `model`")?;
        let model = match text(&["custom_llm_provider", "provider"]) {
            Some(provider) if !model.contains('/') => format!("{provider}/{model}"),
            _ => model.to_owned(),
        };
        let start = find(&["startTime", "start_time", "timestamp", "created", "created_at"]).and_then(moment);
        let start = start.ok_or("it says no time (`startTime`, `created` or `timestamp`)")?;
        let took = number(&["latency_ms", "duration_ms", "total_ms"])
            .or_else(|| number(&["response_time", "latency", "duration"]).map(|seconds| seconds * 1e3));
        let end = find(&["endTime", "end_time"]).and_then(moment);
        let end = end.unwrap_or_else(|| Timestamp(start.0 + (took.unwrap_or(0.0).max(0.0) * 1e3) as u64)).max(start);
        let first = find(&["completionStartTime", "completion_start_time"]).and_then(moment);
        let usage = find(&["usage"]).unwrap_or(line);
        let count = |names: &[&str]| names.iter().find_map(|name| usage.get(*name)?.as_u64());
        let usage = Usage {
            prompt_tokens: count(&["prompt_tokens", "input_tokens"]),
            completion_tokens: count(&["completion_tokens", "output_tokens"]),
            ..Usage::default()
        };
        let score = number(&["score", "rating", "feedback_score"]);
        Ok(Self {
            model,
            tenant: text(&["tenant", "team_id", "team", "user"]).unwrap_or(POLICY),
            start,
            end,
            first_token_ms: first.filter(|first| *first < end).map(|first| first.since(start).as_secs_f64() * 1e3),
            usage: Some(usage).filter(|usage| usage.prompt_tokens.is_some() || usage.completion_tokens.is_some()),
            cost: number(&["response_cost", "spend", "cost_usd", "cost"]).filter(|cost| *cost >= 0.0).map(Usd),
            score: score.map(Score::new).transpose().map_err(|_| "its score is not from 0 to 1".to_owned())?,
            failed: text(&["status"]).is_some_and(|status| status != "success" && status != "200"),
            messages: find(&["messages"]).filter(|messages| messages.as_array().is_some_and(|list| !list.is_empty())),
            response_id: text(&["id", "request_id"]).map(str::to_owned),
        })
    }

    /// The context of the prompt, by its words; without a prompt, only that there was a request.
    fn features(&self, extractor: &Extractor) -> Features {
        let request = self.messages.and_then(|messages| {
            let body = json!({ "model": self.model, "messages": messages }).to_string();
            ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from(body)).ok()
        });
        if let Some(request) = request {
            return extractor.extract(&request, Some(&hashing::embed(request.prompt())));
        }
        let mut x = vec![0.0; CONTEXT];
        x[0] = 1.0;
        let prompt_tokens = self.usage.and_then(|usage| usage.prompt_tokens).unwrap_or(0);
        let needs = Needs { prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX), ..Needs::default() };
        let context = Context { schema: extractor.schema().clone(), x, origin: Origin::Lexical };
        Features { context, needs, intent: None, complexity: None, language: None }
    }
}

/// Seconds or milliseconds since 1970, or a date in words.
fn moment(value: &Value) -> Option<Timestamp> {
    if let Some(number) = value.as_f64().filter(|number| *number > 0.0 && number.is_finite()) {
        // From the year 2286 on seconds have eleven digits; until then that many are milliseconds.
        let seconds = if number > 1e10 { number / 1e3 } else { number };
        return Some(Timestamp((seconds * 1e6) as u64));
    }
    let text = value.as_str()?.trim();
    // Many logs leave the zone out and mean UTC.
    let parsed = text.parse::<Moment>().or_else(|_| format!("{}Z", text.replace(' ', "T")).parse());
    u64::try_from(parsed.ok()?.as_microsecond()).ok().map(Timestamp)
}
