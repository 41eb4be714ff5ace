//! Failures: what a status, headers and an error body mean.
//!
//! Providers agree on little but the status. The code and the type of the error are looked at first, then the
//! status, then the words of the message, because the same 400 may be a prompt too long for this model (which
//! another can take), content it refuses (which another may take), a key that died, or a request that is wrong.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::Timestamp;
use crate::chat::wire::{Object, Text};
use crate::dialect::{Class, Fault};

/// Longest message that is passed on, in characters.
const LONGEST_MESSAGE: usize = 400;

/// Longest time a provider may ask to be left alone; beyond that it is a mistake (an epoch read as seconds).
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Reads an answer whose status is not a success.
#[must_use]
pub fn refusal(status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Fault {
    let said = Said::of(body);
    let class = classify(Some(status), &said);
    let message = match &said.message {
        // A provider's word on a bad key may quote the key.
        Some(message) if class != Class::KeyDead => shorten(message).into_owned(),
        _ => match class {
            Class::KeyDead => format!("the provider refuses the key it was given ({status})"),
            _ => format!("the provider answered with status {status}"),
        },
    };
    let waits = matches!(class, Class::RateLimited | Class::Quota | Class::Broken);
    let retry_after = if waits { wait(headers, now).or_else(|| wait_in_words(&message)) } else { None };
    Fault { class, message, param: said.param, retry_after }
}

/// Reads an error that came where an answer was expected.
pub(super) fn in_answer(body: &[u8]) -> Fault {
    let said = Said::of(body);
    let class = classify(said.status(), &said);
    let message = match &said.message {
        Some(message) if class != Class::KeyDead => shorten(message).into_owned(),
        _ => "the provider sent an error in place of an answer".to_owned(),
    };
    let retry_after = wait_in_words(&message);
    Fault { class, message, param: said.param, retry_after }
}

/// The error in a body that is not an answer, if it is one.
pub(super) fn if_error(body: &[u8]) -> Option<Fault> {
    Said::of(body).message.is_some().then(|| in_answer(body))
}

/// An error body, read.
#[derive(Debug, Default)]
struct Said<'a> {
    message: Option<Cow<'a, str>>,
    param: Option<String>,
    /// `code`, `type` and `status`, in small letters, separated by spaces.
    names: String,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

impl<'a> Said<'a> {
    /// Understands `{"error": {...}}`, `{"error": "..."}`, `{"message": ...}`, `{"detail": ...}`, and each of
    /// them inside an array.
    fn of(body: &'a [u8]) -> Self {
        let Ok(json) = std::str::from_utf8(body) else { return Self::default() };
        let json = match serde_json::from_str::<Vec<&'a RawValue>>(json) {
            Ok(errors) => errors.first().map_or("", |first| first.get()),
            Err(_) => json,
        };
        let outer = serde_json::from_str::<Object<Outer<'a>>>(json).ok().and_then(|Object(outer)| outer.error);
        if let Some(message) = outer.and_then(text) {
            return Self { message: Some(message), ..Self::default() };
        }
        let json = outer.map_or(json, RawValue::get);
        let Ok(Object(inner)) = serde_json::from_str::<Object<Inner<'a>>>(json) else { return Self::default() };
        let message = inner.message.or(inner.detail).map(|raw| text(raw).unwrap_or(Cow::Borrowed(raw.get())));
        let names = [inner.code, inner.kind, inner.status].into_iter().flatten();
        let names: Vec<Cow<'_, str>> = names.map(|raw| text(raw).unwrap_or(Cow::Borrowed(raw.get()))).collect();
        let param = inner.param.and_then(text).map(Cow::into_owned);
        Self { message, param, names: names.join(" ").to_lowercase() }
    }

    /// A status among the names, as aggregators put it into `code`.
    fn status(&self) -> Option<u16> {
        self.names.split(' ').filter_map(|name| name.parse().ok()).find(|status| (400..600).contains(status))
    }
}

fn classify(status: Option<u16>, said: &Said<'_>) -> Class {
    let names = &*said.names;
    let message = said.message.as_deref().unwrap_or_default().to_lowercase();
    let named = |words: &[&str]| words.iter().any(|word| names.contains(word));
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let client_side = status.is_none_or(|status| matches!(status, 400 | 403 | 413 | 422 | 451));
    if client_side {
        if named(&["context_length", "context_window", "string_above_max_length"])
            || says(&[
                "context length",
                "context window",
                "prompt is too long",
                "input is too long",
                "too many tokens",
                "maximum number of tokens",
                "exceeds the maximum prompt",
            ])
        {
            return Class::ContextLength;
        }
        if named(&["content_filter", "content_policy", "responsibleai", "moderation", "safety"])
            || says(&["content management policy", "content policy", "usage policies", "was flagged"])
        {
            return Class::ContentPolicy;
        }
        if named(&["api_key"]) || says(&["api key not valid", "invalid api key", "incorrect api key"]) {
            return Class::KeyDead;
        }
    }
    if named(&["insufficient_quota", "billing", "payment"]) || says(&["credit balance", "exceeded your current quota"])
    {
        return Class::Quota;
    }
    match status {
        Some(401 | 403) => Class::KeyDead,
        Some(402) => Class::Quota,
        Some(404) => Class::Missing,
        Some(408 | 504 | 524) => Class::Timeout,
        Some(413) => Class::ContextLength,
        Some(429) => Class::RateLimited,
        // A conflict or a call too early passes by itself, as a broken server does.
        Some(409 | 425 | 500..) => Class::Broken,
        Some(400..=499) if named(&["model_not_found"]) => Class::Missing,
        Some(400..=499) => Class::Invalid,
        // A success or a redirection in place of an answer.
        Some(_) => Class::Protocol,
        None if named(&["rate_limit", "resource_exhausted", "too_many"]) => Class::RateLimited,
        None if named(&["authentication", "permission"]) => Class::KeyDead,
        None if named(&["not_found"]) => Class::Missing,
        None if named(&["timeout"]) => Class::Timeout,
        None if named(&["invalid_request", "bad_request", "badrequest", "invalid_argument"]) => Class::Invalid,
        None => Class::Broken,
    }
}

fn shorten(message: &str) -> Cow<'_, str> {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{} ...", &message[..end]).into(),
        None => message.into(),
    }
}

/// How long the headers ask to wait: `retry-after-ms`, `retry-after` as seconds or as a date, else the reset of
/// the limit that is used up.
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis = header("retry-after-ms").and_then(|value| value.parse::<f64>().ok()).map(|millis| millis / 1e3);
    if let Some(wait) = millis.and_then(seconds) {
        return Some(wait);
    }
    if let Some(value) = header("retry-after") {
        if let Some(wait) = value.parse::<f64>().ok().and_then(seconds) {
            return Some(wait);
        }
        if let Ok(date) = jiff::fmt::rfc2822::parse(value) {
            let until = u64::try_from(date.timestamp().as_microsecond()).unwrap_or(0);
            return Some(Timestamp(until).since(now).min(LONGEST_WAIT));
        }
    }
    let resets = ["requests", "tokens"].map(|what| {
        let reset = header(&format!("x-ratelimit-reset-{what}")).and_then(duration)?;
        let spent = header(&format!("x-ratelimit-remaining-{what}")) == Some("0");
        Some((spent, reset))
    });
    let known = resets.into_iter().flatten();
    known
        .clone()
        .filter(|(spent, _)| *spent)
        .map(|(_, reset)| reset)
        .max()
        .or_else(|| known.map(|(_, reset)| reset).min())
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(LONGEST_WAIT))
}

/// `1s`, `6m0s`, `20ms`, `1h2m3.5s`, or a plain number of seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(plain) = text.parse::<f64>() {
        return seconds(plain);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    seconds(total)
}

/// `Please try again in 1.2s`, as OpenAI and Groq put it into the message.
fn wait_in_words(message: &str) -> Option<Duration> {
    let after = message.split("try again in ").nth(1)?;
    let word = after.split_whitespace().next()?.trim_end_matches(['.', ',']);
    duration(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Fault {
        refusal(status, &HeaderMap::new(), body.as_bytes(), Timestamp(0))
    }

    fn waiting(headers: &[(&'static str, &'static str)], now: Timestamp) -> Option<Duration> {
        let map = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        refusal(429, &map.collect(), b"", now).retry_after
    }

    #[test]
    fn each_way_to_refuse_is_told_from_the_others() {
        let cases = [
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                Class::ContextLength,
            ),
            (
                400,
                r#"{"error":{"message":"prompt is too long: 210000 tokens > 200000 maximum","type":"invalid_request_error"}}"#,
                Class::ContextLength,
            ),
            (
                400,
                r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","code":"content_filter","status":400}}"#,
                Class::ContentPolicy,
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#,
                Class::KeyDead,
            ),
            (
                400,
                r#"{"error":{"message":"Invalid value for 'temperature'","type":"invalid_request_error","param":"temperature","code":null}}"#,
                Class::Invalid,
            ),
            (422, r#"{"detail":[{"type":"extra_forbidden","loc":["body","foo"]}]}"#, Class::Invalid),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided: sk-abc","code":"invalid_api_key"}}"#,
                Class::KeyDead,
            ),
            (402, "", Class::Quota),
            (403, "<html>", Class::KeyDead),
            (404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#, Class::Missing),
            (413, "", Class::ContextLength),
            (429, r#"{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}"#, Class::RateLimited),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
                Class::Quota,
            ),
            (500, "oops", Class::Broken),
            (504, "", Class::Timeout),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Class::Broken),
            (302, "", Class::Protocol),
        ];
        for (status, body, class) in cases {
            assert_eq!(read(status, body).class, class, "{status} {body}");
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_told_by_its_names() {
        let cases = [
            (r#"{"error":{"message":"Overloaded","type":"overloaded_error"}}"#, Class::Broken),
            (r#"{"error":{"message":"slow down","code":429}}"#, Class::RateLimited),
            (r#"{"error":"something broke"}"#, Class::Broken),
            (r#"{"object":"error","message":"maximum context length is 10","code":400}"#, Class::ContextLength),
            (r#"{"error":{"message":"no","type":"invalid_request_error"}}"#, Class::Invalid),
        ];
        for (body, class) in cases {
            assert_eq!(in_answer(body.as_bytes()).class, class, "{body}");
        }
    }

    #[test]
    fn a_key_is_never_quoted() {
        let fault = read(401, r#"{"error":{"message":"Incorrect API key provided: sk-secret"}}"#);
        assert_eq!(fault.message, "the provider refuses the key it was given (401)");
    }

    #[test]
    fn the_time_to_come_back_is_read_in_every_form() {
        let now = Timestamp(784_111_770_000_000);
        assert_eq!(waiting(&[("retry-after", "2")], now), Some(Duration::from_secs(2)));
        assert_eq!(
            waiting(&[("retry-after", "2"), ("retry-after-ms", "1500")], now),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(waiting(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], now), Some(Duration::from_secs(7)));
        assert_eq!(waiting(&[("retry-after", "Sun, 06 Nov 1994 08:49:20 GMT")], now), Some(Duration::ZERO));
        assert_eq!(waiting(&[("x-ratelimit-reset-requests", "6m0s")], now), Some(Duration::from_mins(6)));
        let spent = [
            ("x-ratelimit-reset-requests", "20ms"),
            ("x-ratelimit-reset-tokens", "1m2.5s"),
            ("x-ratelimit-remaining-tokens", "0"),
        ];
        assert_eq!(waiting(&spent, now), Some(Duration::from_millis(62_500)));
        for nonsense in ["soon", "-1", "nan", "inf", ""] {
            assert_eq!(waiting(&[("retry-after", nonsense)], now), None, "{nonsense}");
        }
        assert_eq!(waiting(&[("retry-after", "1763700000")], now), Some(LONGEST_WAIT));
        let words = r#"{"error":{"message":"Rate limit reached. Please try again in 1.2s. Visit ..."}}"#;
        assert_eq!(read(429, words).retry_after, Some(Duration::from_millis(1200)));
    }
}
