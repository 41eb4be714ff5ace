//! What the path counts. Labels come from the catalogue and from closed lists, never from a caller's words.

use super::choice::Choice;
use crate::base::{Blame, Kind, Score, Usd};
use crate::cache::CacheOutcome;
use crate::cache::semantic::compare::Verdict;
use crate::catalog::Catalog;
use crate::chat::{Endpoint, Usage};
use crate::dispatch::Attempt;
use crate::ledger::{Completed, Outcome};
use crate::telemetry as name;

pub(super) fn decided(choice: &Choice) {
    let explored = if choice.explored() { "1" } else { "0" };
    let arm = choice.arm();
    metrics::counter!(name::DECISIONS, "arm" => arm.model.to_string(), "explored" => explored).increment(1);
    metrics::histogram!(name::PROPENSITY).record(arm.propensity);
}

pub(super) fn cache_hit(outcome: CacheOutcome) {
    let kind = if outcome == CacheOutcome::Hit { "exact" } else { outcome.name() };
    metrics::counter!(name::CACHE_HITS, "kind" => kind).increment(1);
}

/// A prompt was not answered by the answer to a like one.
pub(super) fn unlike(reason: &'static str) {
    metrics::counter!(name::CACHE_UNLIKE, "reason" => reason).increment(1);
}

/// Something was found of an answer from memory, or of one that might have been.
pub(super) fn found(verdict: Verdict, check: bool) {
    let verdict = match verdict {
        Verdict::Right => "right",
        Verdict::Wrong => "wrong",
        Verdict::Unclear => "unclear",
    };
    metrics::counter!(name::CACHE_VERDICTS, "verdict" => verdict, "check" => if check { "1" } else { "0" })
        .increment(1);
}

/// What a judge's call has cost, as far as that is known.
pub(super) fn judged(cost: Option<Usd>) {
    if let Some(cost) = cost {
        metrics::gauge!(name::CACHE_JUDGE_USD).increment(cost.get());
    }
}

pub(super) fn reported() {
    metrics::counter!(name::CACHE_REPORTS).increment(1);
}

pub(super) fn embedding_late() {
    metrics::counter!(name::EMBEDDING_LATE).increment(1);
}

/// The kind with the name of who is to blame in front.
pub(super) fn error(kind: Kind) {
    let label = match kind.blame() {
        Blame::Client => format!("client_{kind}"),
        Blame::Upstream => format!("upstream_{}", kind.name().trim_start_matches("upstream_")),
        Blame::Pointsman => format!("pointsman_{kind}"),
    };
    metrics::counter!(name::ERRORS, "kind" => label).increment(1);
}

pub(super) fn feedback(channel: &str, score: Option<Score>) {
    let channel = if channel == "user" { "user" } else { "other" };
    metrics::counter!(name::FEEDBACK, "channel" => channel).increment(1);
    if let Some(score) = score {
        metrics::histogram!(name::REWARD, "channel" => channel).record(score.get());
    }
}

/// The label of a request's route.
pub(super) const fn route(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "/v1/chat/completions",
        Endpoint::Completions => "/v1/completions",
    }
}

pub(super) fn completed(event: &Completed, route: &'static str, catalog: &Catalog) {
    let model = event.model.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let status = match event.outcome {
        Outcome::Served => "served",
        Outcome::Failed(_) => "failed",
        Outcome::Broken(_) => "broken",
        Outcome::HungUp => "hung_up",
        Outcome::Dropped => "dropped",
    };
    let cache = event.cache.name();
    metrics::counter!(name::REQUESTS, "route" => route, "model" => model, "status" => status, "cache" => cache)
        .increment(1);
    metrics::histogram!(name::REQUEST_SECONDS, "route" => route).record(event.total_ms / 1e3);
    metrics::histogram!(name::OVERHEAD_SECONDS).record(event.overhead_ms / 1e3);
    if let (Some(served), Some(first)) = (&event.served, event.first_token_ms) {
        let deployment = served.to_string();
        metrics::histogram!(name::TIME_TO_FIRST_TOKEN_SECONDS, "deployment" => deployment.clone()).record(first / 1e3);
        let after = event.usage.and_then(|usage| usage.completion_tokens).unwrap_or(0).saturating_sub(1);
        if event.stream && after > 0 {
            let each = (event.total_ms - first) / 1e3 / after as f64;
            metrics::histogram!(name::TIME_PER_OUTPUT_TOKEN_SECONDS, "deployment" => deployment).record(each);
        }
    }
    for attempt in &event.attempts {
        attempted(attempt, catalog);
    }
    for score in &event.scores {
        metrics::histogram!(name::REWARD, "channel" => score.channel.clone()).record(score.score.get());
    }
}

fn attempted(attempt: &Attempt, catalog: &Catalog) {
    let known = catalog.deployment(attempt.deployment.as_str());
    let deployment = known.map_or_else(|| "other".to_owned(), |known| known.id.to_string());
    let model = known.map_or_else(|| "other".to_owned(), |known| known.model.to_string());
    let outcome = attempt.error.map_or("ok", Kind::name);
    metrics::histogram!(name::UPSTREAM_SECONDS, "deployment" => deployment.clone()).record(attempt.total_ms / 1e3);
    metrics::counter!(name::ATTEMPTS, "deployment" => deployment, "outcome" => outcome).increment(1);
    match attempt.cost_usd {
        Some(cost) => metrics::gauge!(name::COST_USD, "model" => model.clone()).increment(cost.get()),
        None => metrics::counter!(name::UNKNOWN_PRICE).increment(1),
    }
    if let Some(usage) = attempt.usage {
        tokens(&model, &usage);
    }
}

fn tokens(model: &str, usage: &Usage) {
    let kinds = [
        ("input", usage.prompt_tokens),
        ("cached", usage.cached_tokens),
        ("output", usage.completion_tokens),
        ("reasoning", usage.reasoning_tokens),
    ];
    for (kind, count) in kinds {
        if let Some(count) = count {
            metrics::counter!(name::TOKENS, "model" => model.to_owned(), "kind" => kind).increment(count);
        }
    }
}
