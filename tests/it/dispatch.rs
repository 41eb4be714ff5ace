//! The call, against a provider that fails in every way: what the client sees, and what is written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use pointsman::base::{Kind, Secret, Seed, SystemClock};
use pointsman::catalog::{Catalog, Deployment, Price};
use pointsman::chat::{Answer, ChatRequest, Endpoint};
use pointsman::dispatch::{Attempt, Config, Dispatcher, Failure, Journal, Piece, Plan, Reply, ReplyBody};
use serde_json::{Value, json};

use crate::support::upstream::{USAGE, Upstream, WAYS};

/// A deployment of this name that behaves in this way.
fn deployment(upstream: &Upstream, id: &str, way: &str) -> Deployment {
    // Nobody listens on port 1.
    let base_url =
        if way == "refused" { "http://127.0.0.1:1".to_owned() } else { format!("{}/{way}", upstream.address) };
    Deployment {
        id: id.into(),
        model: "model".into(),
        provider: "provider".to_owned(),
        upstream_model: "up/model".to_owned(),
        base_url,
        key: Some(Secret::new("sk-key")),
        headers: BTreeMap::from([("x-team".to_owned(), "points".to_owned())]),
        price: Some(Price { input: 1e6, output: 1e6, cached_input: None, cache_write: None, reasoning: None }),
        capabilities: Vec::new(),
        context_window: None,
        max_output: None,
        weight: 1.0,
        tags: Vec::new(),
        auto: true,
        like: None,
    }
}

/// The price above makes a token cost a dollar.
fn dollars_of(usage: (u64, u64)) -> f64 {
    (usage.0 + usage.1) as f64
}

fn catalog(deployments: Vec<Deployment>) -> (Catalog, Plan) {
    let steps = deployments.iter().map(|deployment| deployment.id.clone()).collect();
    (Catalog::new(deployments, BTreeMap::new(), None), Plan { steps })
}

fn request(stream: bool) -> ChatRequest {
    let body = json!({"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "Say hello."}]});
    ChatRequest::parse(Endpoint::ChatCompletions, body.to_string().into()).expect("a good body")
}

/// Patient enough for a busy machine, hasty enough for a test.
fn hasty() -> Config {
    Config {
        first_token_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        whole_timeout: Duration::from_secs(2),
        retries: 1,
        backoff: Duration::from_millis(5),
        longest_pause: Duration::from_millis(500),
        retry_share: 1.0,
        ..Config::default()
    }
}

fn dispatcher(config: Config) -> Dispatcher {
    Dispatcher::new(config, Arc::new(SystemClock::new())).expect("a dispatcher")
}

/// What the client got.
struct Got {
    text: String,
    answer: Answer,
    attempt: Attempt,
    error: Option<Kind>,
}

async fn drain(reply: Reply) -> Got {
    match reply.body {
        ReplyBody::Whole { bytes, answer, attempt } => {
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            Got { text, answer: *answer, attempt, error: None }
        }
        ReplyBody::Stream(mut pieces) => {
            let mut text = String::new();
            loop {
                match pieces.next().await.expect("`End` comes last") {
                    Piece::Bytes(bytes) => text.push_str(std::str::from_utf8(&bytes).expect("whole events")),
                    Piece::End(end) => {
                        let error = end.error.map(|error| error.kind);
                        return Got { text, answer: end.answer, attempt: end.attempt, error };
                    }
                }
            }
        }
    }
}

/// One line of the table: what the client sees of a provider that fails in this way.
async fn seen(dispatcher: &Dispatcher, upstream: &Upstream, way: &str, stream: bool, fallback: bool) -> String {
    let mut deployments = vec![deployment(upstream, &format!("{way}/{stream}/{fallback}"), way)];
    if fallback {
        deployments.push(deployment(upstream, "other", "good"));
    }
    let (catalog, plan) = catalog(deployments);
    let journal = Journal::default();
    let reply = dispatcher.run(&plan, &request(stream), &catalog, Seed(7), &journal).await;
    let verdict = match reply {
        Err(Failure { error, attempts }) => {
            assert_eq!(attempts, journal.attempts());
            assert!(!error.message.contains("sk-"), "{}", error.message);
            let wait = error
                .retry_after
                .map_or(String::new(), |wait| format!(", come back in {} s", wait.as_secs_f64().ceil()));
            format!("error {}{wait}", error.kind)
        }
        Ok(reply) => {
            let by = if reply.served.as_str() == "other" { " of the other" } else { "" };
            let got = drain(reply).await;
            let whole = got.answer.text == "Hello" && got.answer.finish_reason.is_some();
            assert_eq!(got.text.matches("\"error\"").count(), usize::from(got.error.is_some()), "{}", got.text);
            assert_eq!(got.text.contains("[DONE]"), stream && got.error.is_none(), "{}", got.text);
            assert_eq!(whole, got.error.is_none(), "{way}: {}", got.text);
            assert_eq!(journal.attempts().last(), Some(&got.attempt));
            match got.error {
                None => format!("whole answer{by}"),
                Some(kind) => format!("part of an answer{by}, then error {kind}"),
            }
        }
    };
    let attempts: Vec<String> = journal.attempts().iter().map(describe).collect();
    format!("{verdict} [{}]", attempts.join("; "))
}

fn describe(attempt: &Attempt) -> String {
    let status = attempt.status.map_or("no status".to_owned(), |status| status.to_string());
    let cost = attempt.cost_usd.map_or("cost unknown".to_owned(), |cost| format!("${}", cost.get()));
    let estimated = if attempt.usage_estimated { " estimated" } else { "" };
    format!("{status}, {cost}{estimated}")
}

#[tokio::test]
async fn every_fault_is_unseen_or_one_clean_error() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(Config { max_answer_bytes: 4 << 20, ..hasty() });
    let mut lines = Vec::new();
    for way in WAYS {
        for stream in [true, false] {
            for fallback in [true, false] {
                let name = format!(
                    "{way:<20} {:<6} {:<14}",
                    if stream { "stream" } else { "whole" },
                    if fallback { "with fallback" } else { "alone" }
                );
                let (dispatcher, upstream) = (&dispatcher, &upstream);
                lines
                    .push(async move { format!("{name} {}", seen(dispatcher, upstream, way, stream, fallback).await) });
            }
        }
    }
    let table = futures::future::join_all(lines).await.join("\n");
    println!("{table}");
    insta::assert_snapshot!(table);
    let left: u32 = dispatcher.availability().health.values().map(|health| health.in_flight).sum();
    assert_eq!(left, 0, "nothing is in flight any more");
}

#[tokio::test]
async fn the_body_arrives_as_it_was_sent_but_for_model_and_usage() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(hasty());
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "good")]);
    let sent = r#"{ "zeta":1e400, "model" :"auto","seed":123456789012345678901234567890,"messages":[{"role":"user","content":"\u0041","x":null}],"zeta":2}"#;
    for stream in [false, true] {
        let sent = if stream { sent.replacen("{ ", "{ \"stream\":true,", 1) } else { sent.to_owned() };
        let request = ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from(sent.clone())).expect("a good body");
        let reply = dispatcher.run(&plan, &request, &catalog, Seed(1), &Journal::default()).await.expect("served");
        assert_eq!(reply.upstream_request_id.as_deref(), Some("req-up"));
        let got = drain(reply).await;
        assert!(got.text.contains("x_unknown"), "unknown fields come back");
        assert!(!got.text.contains("usage") || !stream, "nobody asked for usage in the stream");
        let call = upstream.calls("good").pop().expect("it was called");
        let added = if stream { r#""up/model","stream_options":{"include_usage":true}"# } else { r#""up/model""# };
        assert_eq!(call.body, sent.replace("\"auto\"", added));
        assert_eq!(call.headers["authorization"], "Bearer sk-key");
        assert_eq!(call.headers["x-team"], "points");
        assert!(got.attempt.cost_usd.is_some_and(|cost| (cost.get() - dollars_of(USAGE)).abs() < 1e-9));
    }
}

#[tokio::test]
async fn a_client_that_asks_for_usage_gets_it() {
    let upstream = Upstream::start().await;
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "good")]);
    let body = json!({"model": "auto", "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "x"}]});
    let request = ChatRequest::parse(Endpoint::ChatCompletions, body.to_string().into()).expect("a good body");
    let reply = dispatcher(hasty()).run(&plan, &request, &catalog, Seed(1), &Journal::default()).await.expect("served");
    let text = drain(reply).await.text;
    let events: Vec<Value> =
        text.split("\n\n").filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok()).collect();
    assert_eq!(events.last().expect("events")["usage"]["prompt_tokens"], USAGE.0);
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_provider_that_knows_no_stream_options_is_asked_without_and_its_tokens_are_counted_here() {
    let upstream = Upstream::start().await;
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "no-stream-options")]);
    let dispatcher = dispatcher(hasty());
    for calls in [2, 3] {
        let reply =
            dispatcher.run(&plan, &request(true), &catalog, Seed(1), &Journal::default()).await.expect("served");
        assert_eq!(reply.failed, []);
        let got = drain(reply).await;
        assert_eq!((got.answer.text.as_str(), got.attempt.usage_estimated), ("Hello", true));
        assert!(got.attempt.cost_usd.is_some());
        assert_eq!(upstream.calls("no-stream-options").len(), calls, "it is asked only once");
    }
}

#[tokio::test]
async fn the_wait_before_a_retry_is_what_the_last_answer_asked_for() {
    let upstream = Upstream::start().await;
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "429-escalating")]);
    let dispatcher = dispatcher(Config { retries: 2, longest_pause: Duration::from_secs(2), ..hasty() });
    let reply = dispatcher.run(&plan, &request(true), &catalog, Seed(3), &Journal::default()).await.expect("served");
    assert_eq!(reply.failed.len(), 2);
    assert_eq!(drain(reply).await.answer.text, "Hello");
    let calls = upstream.calls("429-escalating");
    let gap = |n: usize| calls[n + 1].at - calls[n].at;
    assert!(gap(0) >= Duration::from_millis(100), "{:?}", gap(0));
    assert!(gap(1) >= Duration::from_millis(250), "{:?}", gap(1));
}

#[tokio::test]
async fn a_deployment_alone_is_tried_again() {
    let upstream = Upstream::start().await;
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "500-once")]);
    let dispatcher = dispatcher(hasty());
    let reply = dispatcher.run(&plan, &request(false), &catalog, Seed(3), &Journal::default()).await.expect("served");
    assert_eq!(reply.failed.iter().map(|attempt| attempt.error).collect::<Vec<_>>(), [Some(Kind::UpstreamUnavailable)]);
    assert_eq!(drain(reply).await.answer.text, "Hello");
}

#[tokio::test]
async fn a_deployment_that_keeps_failing_is_left_alone_and_the_client_is_told_for_how_long() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(Config { retries: 0, breaker_failures: 2, ..hasty() });
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "500")]);
    let journal = Journal::default();
    for _ in 0..2 {
        let failure = dispatcher.run(&plan, &request(false), &catalog, Seed(3), &journal).await.err().expect("broken");
        assert_eq!(failure.error.kind, Kind::UpstreamUnavailable);
    }
    assert!(dispatcher.availability().of(&"d".into()).closed_for.is_some());
    let failure = dispatcher.run(&plan, &request(false), &catalog, Seed(3), &journal).await.err().expect("resting");
    assert_eq!(failure.error.kind, Kind::UpstreamUnavailable);
    assert!(failure.error.retry_after.is_some());
    assert_eq!(upstream.calls("500").len(), 2, "the third was not sent");
}

#[tokio::test]
async fn a_deployment_with_a_new_key_is_not_judged_by_the_old_one() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(hasty());
    let (old, plan) = catalog(vec![deployment(&upstream, "d", "401")]);
    assert!(dispatcher.run(&plan, &request(false), &old, Seed(3), &Journal::default()).await.is_err());
    assert!(dispatcher.availability().of(&"d".into()).closed_for.is_some());
    let (new, plan) = catalog(vec![deployment(&upstream, "d", "good")]);
    assert!(dispatcher.run(&plan, &request(false), &new, Seed(3), &Journal::default()).await.is_ok());
}

#[tokio::test]
async fn a_full_deployment_sends_the_next_request_to_the_other() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(Config { max_in_flight: Some(1), ..hasty() });
    let (catalog, plan) = catalog(vec![deployment(&upstream, "small", "good"), deployment(&upstream, "other", "good")]);
    let run =
        async || dispatcher.run(&plan, &request(true), &catalog, Seed(3), &Journal::default()).await.expect("served");
    let first = run().await;
    let second = run().await;
    assert_eq!((first.served.as_str(), second.served.as_str()), ("small", "other"));
    drop(first);
    assert_eq!(run().await.served.as_str(), "small");
}

#[tokio::test]
async fn the_soonest_deployment_says_when_to_come_back() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(hasty());
    let (catalog, plan) =
        catalog(vec![deployment(&upstream, "dead", "401"), deployment(&upstream, "limited", "429-retry-after")]);
    let failure =
        dispatcher.run(&plan, &request(true), &catalog, Seed(3), &Journal::default()).await.err().expect("none");
    assert_eq!(failure.error.kind, Kind::RateLimited);
    assert_eq!(failure.error.retry_after.map(|wait| wait.as_secs_f64().ceil()), Some(7.0));
    assert_eq!(failure.attempts.len(), 2);
}

#[tokio::test]
async fn retries_stop_when_their_budget_is_spent() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(Config { retry_share: 0.0, breaker_failures: 1000, ..hasty() });
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "500")]);
    for _ in 0..20 {
        let failed = dispatcher.run(&plan, &request(false), &catalog, Seed(3), &Journal::default()).await;
        assert!(failed.is_err());
    }
    assert_eq!(upstream.calls("500").len(), 20 + 10, "ten retries are what the budget starts with");
}

#[tokio::test]
async fn a_hang_up_cancels_the_call_wherever_it_stands() {
    let upstream = Upstream::start().await;
    let dispatcher = dispatcher(Config {
        first_token_timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_mins(1),
        ..hasty()
    });
    // Before any content: the future of the run is dropped.
    let (waits, plan) = catalog(vec![deployment(&upstream, "waits", "hang-after-head")]);
    let journal = Journal::default();
    let request = request(true);
    {
        let run = dispatcher.run(&plan, &request, &waits, Seed(1), &journal);
        tokio::pin!(run);
        while upstream.calls("hang-after-head").is_empty() {
            let _ = tokio::time::timeout(Duration::from_millis(10), &mut run).await;
        }
        // The call has arrived; its answer's head has to come, too.
        let _ = tokio::time::timeout(Duration::from_millis(200), &mut run).await;
    }
    upstream.dropped.notified().await;
    assert_eq!(journal.attempts().len(), 1);
    assert_eq!(journal.attempts()[0].error, None);

    // After the first content: the stream is dropped.
    let (speaks, plan) = catalog(vec![deployment(&upstream, "speaks", "hang-after-content")]);
    let journal = Journal::default();
    let reply = dispatcher.run(&plan, &request, &speaks, Seed(1), &journal).await.expect("content came");
    let ReplyBody::Stream(mut pieces) = reply.body else { panic!("a stream was asked for") };
    assert!(matches!(pieces.next().await, Some(Piece::Bytes(_))));
    assert_eq!(dispatcher.availability().of(&"speaks".into()).in_flight, 1);
    drop(pieces);
    upstream.dropped.notified().await;
    assert_eq!(dispatcher.availability().of(&"speaks".into()).in_flight, 0);
    assert!(journal.attempts()[0].usage_estimated);
    assert_eq!(journal.cut_answer().map(|answer| answer.text).as_deref(), Some("Hel"));
}

#[tokio::test]
async fn slow_chunks_come_through_one_by_one() {
    let upstream = Upstream::start().await;
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "slow")]);
    let reply =
        dispatcher(hasty()).run(&plan, &request(true), &catalog, Seed(1), &Journal::default()).await.expect("served");
    let ReplyBody::Stream(mut pieces) = reply.body else { panic!("a stream was asked for") };
    let Some(Piece::Bytes(first)) = pieces.next().await else { panic!("bytes come first") };
    let first = String::from_utf8_lossy(&first).into_owned();
    assert!(first.contains("\"Hel\"") && !first.contains("\"lo\""), "the second half was not waited for: {first}");
}

#[tokio::test]
async fn streams_one_after_the_other_share_a_connection() {
    // What is left unread behind `[DONE]` would cost every request a new one.
    let upstream = Upstream::start().await;
    let (catalog, plan) = catalog(vec![deployment(&upstream, "d", "good")]);
    let dispatcher = dispatcher(hasty());
    for _ in 0..20 {
        let reply =
            dispatcher.run(&plan, &request(true), &catalog, Seed(1), &Journal::default()).await.expect("served");
        assert_eq!(drain(reply).await.answer.text, "Hello");
    }
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 1);
}
