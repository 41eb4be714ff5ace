//! Tracing set-up, and the name of every metric.
//!
//! The names stand in one table, each with its kind and its help text, so that a panel can be built from this
//! page and nothing is counted under two names. Labels are bounded: a model or deployment that is not in the
//! catalogue is `other`, a channel that is not one of ours is `other`; no label ever carries a caller's words,
//! a tenant or an id. Logs follow the same rule: names, numbers and kinds, never a prompt, an answer or a key.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Requests that were answered, well or not. Labels: `route`, `model`, `status`, `cache`.
pub const REQUESTS: &str = "pointsman_requests_total";
/// Requests that ended in an error. Label: `kind`, one of the closed list with the name of who is to blame in front.
pub const ERRORS: &str = "pointsman_errors_total";
/// Requests turned away at the door. Label: `kind`.
pub const REFUSED: &str = "pointsman_refused_total";
/// Requests being served now.
pub const IN_FLIGHT: &str = "pointsman_in_flight_requests";
/// Whole time of a request, seconds. Label: `route`.
pub const REQUEST_SECONDS: &str = "pointsman_request_seconds";
/// Pointsman's own part of it: the total less the time spent waiting for an upstream or the client.
pub const OVERHEAD_SECONDS: &str = "pointsman_overhead_seconds";
/// Time of one call upstream, seconds. Label: `deployment`.
pub const UPSTREAM_SECONDS: &str = "pointsman_upstream_seconds";
/// From arrival to the first content, seconds. Label: `deployment`.
pub const TIME_TO_FIRST_TOKEN_SECONDS: &str = "pointsman_time_to_first_token_seconds";
/// Mean time between tokens after the first, seconds. Label: `deployment`.
pub const TIME_PER_OUTPUT_TOKEN_SECONDS: &str = "pointsman_time_per_output_token_seconds";
/// Calls upstream that ended. Labels: `deployment`, `outcome`.
pub const ATTEMPTS: &str = "pointsman_attempts_total";
/// Tokens. Labels: `model`, `kind`.
pub const TOKENS: &str = "pointsman_tokens_total";
/// Money spent at providers, as far as the price is known. Label: `model`.
pub const COST_USD: &str = "pointsman_cost_usd_total";
/// Calls whose cost is not known.
pub const UNKNOWN_PRICE: &str = "pointsman_unknown_price_total";
/// Choices made. Labels: `arm`, `explored`.
pub const DECISIONS: &str = "pointsman_decisions_total";
/// The probability that the chosen deployment was drawn with.
pub const PROPENSITY: &str = "pointsman_propensity";
/// Scores of answers. Label: `channel`.
pub const REWARD: &str = "pointsman_reward";
/// Answers from the cache. Label: `kind`.
pub const CACHE_HITS: &str = "pointsman_cache_hits_total";
/// Answers from memory that somebody reported as wrong.
pub const CACHE_REPORTS: &str = "pointsman_cache_reports_total";
/// Prompts that were not answered by the answer to a like one. Label: `reason`.
pub const CACHE_UNLIKE: &str = "pointsman_cache_unlike_total";
/// What was found of answers to like prompts. Labels: `verdict`; `check`: whether it was, or would have been, served.
pub const CACHE_VERDICTS: &str = "pointsman_cache_verdicts_total";
/// Upper limit, 95 %, of the share of wrong answers among those given for other prompts. Labels: `namespace` (the
/// twenty most checked), `state`.
pub const CACHE_WRONG_BOUND: &str = "pointsman_cache_wrong_bound";
/// What the judge of answers to like prompts has cost, dollars, as far as prices are known.
pub const CACHE_JUDGE_USD: &str = "pointsman_cache_judge_usd";
/// Bytes held by the exact cache.
pub const CACHE_BYTES: &str = "pointsman_cache_bytes";
/// Embeddings that were not ready in time, so that the lexical context was used.
pub const EMBEDDING_LATE: &str = "pointsman_embedding_late_total";
/// Events the ledger shed because its writer had too much to do.
pub const EVENTS_SHED: &str = "pointsman_events_shed_total";
/// Seconds since the policy that decides was published.
pub const SNAPSHOT_AGE_SECONDS: &str = "pointsman_snapshot_age_seconds";
/// Feedback received. Label: `channel`.
pub const FEEDBACK: &str = "pointsman_feedback_total";
/// What the next answer may cost under a budget, US dollars. Label: `budget`, its name in the configuration.
pub const BUDGET_REMAINING_USD: &str = "pointsman_budget_remaining_usd";
/// The price of money of a budget: how much it slows spending. Label: `budget`.
pub const BUDGET_DUAL: &str = "pointsman_budget_dual";
/// Alerts of budgets. Labels: `budget`, `percent`.
pub const BUDGET_ALERTS: &str = "pointsman_budget_alerts_total";
/// Panics that were caught.
pub const PANICS: &str = "pointsman_panics_total";

/// What kind of metric a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Every metric: name, kind, help text.
pub const METRICS: [(&str, Shape, &str); 31] = [
    (REQUESTS, Shape::Counter, "Requests answered, by route, model, status and cache outcome."),
    (ERRORS, Shape::Counter, "Requests that ended in an error, by kind."),
    (REFUSED, Shape::Counter, "Requests turned away at admission, by kind."),
    (IN_FLIGHT, Shape::Gauge, "Requests being served now."),
    (REQUEST_SECONDS, Shape::Histogram, "Time from arrival to the last byte."),
    (OVERHEAD_SECONDS, Shape::Histogram, "Own work per request: total less waiting for upstream or client."),
    (UPSTREAM_SECONDS, Shape::Histogram, "Time of one call upstream."),
    (TIME_TO_FIRST_TOKEN_SECONDS, Shape::Histogram, "Time from arrival to the first content."),
    (TIME_PER_OUTPUT_TOKEN_SECONDS, Shape::Histogram, "Mean time between output tokens after the first."),
    (ATTEMPTS, Shape::Counter, "Calls upstream, by deployment and outcome."),
    (TOKENS, Shape::Counter, "Tokens, by model and kind (input, cached, output, reasoning)."),
    (COST_USD, Shape::Counter, "US dollars spent at providers, as far as prices are known."),
    (UNKNOWN_PRICE, Shape::Counter, "Calls whose cost is unknown."),
    (DECISIONS, Shape::Counter, "Choices made, by arm and whether it was not the greedy one."),
    (PROPENSITY, Shape::Histogram, "Probability with which the chosen arm was drawn."),
    (REWARD, Shape::Histogram, "Scores of answers, by channel."),
    (CACHE_HITS, Shape::Counter, "Answers served from the cache, by kind."),
    (CACHE_REPORTS, Shape::Counter, "Answers from memory that were reported as wrong and forgotten."),
    (CACHE_UNLIKE, Shape::Counter, "Prompts not answered by the answer to a like one, by reason."),
    (CACHE_VERDICTS, Shape::Counter, "Answers to like prompts compared with fresh ones, by verdict."),
    (CACHE_WRONG_BOUND, Shape::Gauge, "Upper limit of the share of wrong semantic hits, by namespace."),
    (CACHE_JUDGE_USD, Shape::Gauge, "What the judge of answers to like prompts has cost, in dollars, as far as known."),
    (CACHE_BYTES, Shape::Gauge, "Bytes held by the exact cache."),
    (EMBEDDING_LATE, Shape::Counter, "Requests decided on the lexical context because the encoder was late."),
    (EVENTS_SHED, Shape::Counter, "Ledger events shed under overload."),
    (SNAPSHOT_AGE_SECONDS, Shape::Gauge, "Seconds since the deciding policy was published."),
    (FEEDBACK, Shape::Counter, "Feedback received, by channel."),
    (BUDGET_REMAINING_USD, Shape::Gauge, "US dollars that the next answer may cost, by budget."),
    (BUDGET_DUAL, Shape::Gauge, "Price of money by budget: how much it slows spending."),
    (BUDGET_ALERTS, Shape::Counter, "Times that a share of a budget was spent, by budget and percent."),
    (PANICS, Shape::Counter, "Panics caught while serving."),
];

/// Bounds of the histograms of own work, seconds: from 50 microseconds.
const SHORT: [f64; 12] = [5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5];
/// Bounds of the histograms of waiting, seconds.
const LONG: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Bounds of probabilities and scores.
const UNIT: [f64; 10] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0];

/// The registry behind `/metrics`. The first call installs it for the process; later calls give the same one.
///
/// If another recorder was installed before (an embedding program's own), the metrics go there and this one
/// stays empty.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let bounds: [(&str, &[f64]); 7] = [
            (OVERHEAD_SECONDS, &SHORT),
            (TIME_PER_OUTPUT_TOKEN_SECONDS, &SHORT),
            (REQUEST_SECONDS, &LONG),
            (UPSTREAM_SECONDS, &LONG),
            (TIME_TO_FIRST_TOKEN_SECONDS, &LONG),
            (PROPENSITY, &UNIT),
            (REWARD, &UNIT),
        ];
        let builder = bounds.iter().fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
            builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds).unwrap_or_default()
        });
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics stays empty");
        }
        for (name, shape, help) in METRICS {
            match shape {
                Shape::Counter if name == COST_USD => metrics::describe_gauge!(name, help),
                Shape::Counter => metrics::describe_counter!(name, help),
                Shape::Gauge => metrics::describe_gauge!(name, help),
                Shape::Histogram => metrics::describe_histogram!(name, help),
            }
        }
        handle
    })
}

/// The metrics in Prometheus' text form.
#[must_use]
pub fn render() -> String {
    // The registry's counters hold whole numbers; dollars are kept in a gauge that only rises, and shown as what it is.
    metrics().render().replace(&format!("# TYPE {COST_USD} gauge"), &format!("# TYPE {COST_USD} counter"))
}

/// Folds the samples of histograms into their buckets. They are kept one by one until somebody does this or scrapes;
/// the gateway does it every so many requests, so that a process nobody scrapes does not grow.
pub fn fold_samples() {
    metrics().run_upkeep();
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Pretty,
}

/// What the log looks like and how much it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Its form.
    pub format: LogFormat,
    /// Which events, in the words of `RUST_LOG`, which wins over this: `info`, `pointsman=debug,warn` ...
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

/// Sends the process's tracing events to standard error. Only the first call does anything.
pub fn init(config: &Config) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&config.filter)).unwrap_or_default();
    let registry = tracing_subscriber::registry().with(filter);
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // A second initialisation (a test, an embedding program) leaves the first in force.
    let _ = match config.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Pretty => registry.with(layer.with_target(false).compact()).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_help_text() {
        let names: BTreeSet<&str> = METRICS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), METRICS.len());
        for (name, shape, help) in METRICS {
            assert!(name.starts_with("pointsman_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), shape == Shape::Counter, "{name}");
        }
    }

    #[test]
    fn dollars_are_shown_as_a_counter() {
        metrics();
        metrics::gauge!(COST_USD, "model" => "m").increment(0.25);
        let text = render();
        assert!(text.contains("# TYPE pointsman_cost_usd_total counter"), "{text}");
        assert!(text.contains("pointsman_cost_usd_total{model=\"m\"} 0.25"), "{text}");
    }
}
