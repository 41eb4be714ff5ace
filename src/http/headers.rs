//! The headers of a response: what was decided, and the request's id.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::gateway::Facts;

/// The id that follows a request end to end.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What our own headers begin with.
pub(super) const OURS: &str = "x-pointsman-";

/// Writes down what can be told of a request. What is not known is absent.
pub(super) fn tell(headers: &mut HeaderMap, facts: &Facts) {
    let mut set = |name: &'static str, value: Option<String>| {
        // A name from a configuration may hold what a header cannot; it is left out rather than mangled.
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-pointsman-decision", Some(facts.decision.to_string()));
    set("x-pointsman-model", facts.model.as_ref().map(ToString::to_string));
    set("x-pointsman-deployment", facts.deployment.as_ref().map(ToString::to_string));
    set("x-pointsman-reason", facts.reason.map(str::to_owned));
    set("x-pointsman-propensity", facts.propensity.map(|p| format!("{p:.6}")));
    set("x-pointsman-policy", facts.policy.clone());
    set("x-pointsman-explored", facts.explored.map(|explored| u8::from(explored).to_string()));
    set("x-pointsman-cost-usd", facts.cost_usd.map(|cost| dollars(cost.get())));
    set("x-pointsman-overhead-ms", Some(format!("{:.3}", facts.overhead_ms)));
    set("x-pointsman-attempts", Some(facts.attempts.to_string()));
    set("x-pointsman-cache", Some(facts.cache.name().to_owned()));
    set("x-pointsman-cache-id", facts.cache_id.clone());
    set("x-pointsman-cache-similarity", facts.cache_similarity.map(|similarity| format!("{similarity:.4}")));
    set("x-pointsman-cache-reason", facts.cache_reason.map(str::to_owned));
    set("x-pointsman-upstream-request-id", facts.upstream_request_id.clone());
    if let Some(age) = facts.age {
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    }
}

/// A plain decimal number with as many digits as a price per token needs.
fn dollars(amount: f64) -> String {
    let text = format!("{amount:.12}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_plain_and_keep_their_small_digits() {
        assert_eq!(dollars(0.0), "0");
        assert_eq!(dollars(1.25e-7), "0.000000125");
        assert_eq!(dollars(3.0), "3");
    }
}
