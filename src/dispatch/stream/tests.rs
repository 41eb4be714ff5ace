//! Time is paused here: a wait takes no time, and its length is exact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;

use super::*;
use crate::base::{Kind, SystemClock, Usd};
use crate::catalog::{Deployment, Price};
use crate::chat::{ChatRequest, Endpoint};
use crate::dispatch::health::Doors;
use crate::dispatch::{Config, Journal};

const ROLE: &str =
    "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
const HELLO: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000000,\"completion_tokens\":0}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const PING: &str = ": ping\n\n";

/// What the provider does next.
#[derive(Clone, Copy)]
enum Do {
    Say(&'static str),
    Wait(u64),
    Break,
    Hang,
}
use Do::{Break, Hang, Say, Wait};

/// A provider's body that plays a script, and says when it was dropped.
struct Script {
    body: Body,
    dropped: Arc<AtomicBool>,
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn script(steps: Vec<Do>) -> Script {
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = OnDrop(dropped.clone());
    let body = futures::stream::unfold((steps.into_iter(), guard), |(mut steps, guard)| async {
        loop {
            match steps.next()? {
                Say(text) => return Some((Ok(Bytes::from_static(text.as_bytes())), (steps, guard))),
                Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                Break => return Some((Err(Fault::new(Class::Protocol, "broken off")), (steps, guard))),
                Hang => std::future::pending().await,
            }
        }
    });
    Script { body: Box::pin(body), dropped }
}

fn deployment(price: Option<f64>) -> Deployment {
    Deployment {
        id: "d".into(),
        model: "m".into(),
        provider: "p".to_owned(),
        upstream_model: "m".to_owned(),
        base_url: "http://nowhere".to_owned(),
        key: None,
        headers: BTreeMap::new(),
        price: price.map(|input| Price { input, output: 0.0, cached_input: None, cache_write: None, reasoning: None }),
        capabilities: Vec::new(),
        context_window: None,
        max_output: None,
        weight: 1.0,
        tags: Vec::new(),
        auto: true,
        like: None,
    }
}

/// First content within 10 s, then 5 s between contents, 60 s in all.
fn flow(body: Body, journal: &Journal) -> Flow {
    let clock = Arc::new(SystemClock::new());
    let doors = Doors::new(Arc::new(Config::default()), clock.clone());
    let deployment = deployment(Some(2.0));
    let body_in = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello world"}]}"#;
    let request = ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from_static(body_in.as_bytes())).expect("good");
    let Ok(permit) = doors.enter(&deployment) else { panic!("nothing has failed yet") };
    let running = Running::new(&deployment, &request, permit, clock, journal);
    let now = Instant::now();
    let limits = Limits {
        first: now + Duration::from_secs(10),
        idle: Duration::from_secs(5),
        total: now + Duration::from_mins(1),
    };
    Flow::new(body, running, limits, request.usage_was_added())
}

/// What the client gets of this script, and how it ended.
async fn play(steps: Vec<Do>) -> Result<(String, StreamEnd), Fault> {
    let mut committed = flow(script(steps).body, &Journal::default()).commit().await?;
    let mut text = String::new();
    loop {
        match committed.next().await.expect("`End` comes last") {
            Piece::Bytes(bytes) => text.push_str(std::str::from_utf8(&bytes).expect("text")),
            Piece::End(end) => {
                assert!(committed.next().await.is_none());
                return Ok((text, *end));
            }
        }
    }
}

async fn fails(steps: Vec<Do>) -> (Class, Duration) {
    let start = Instant::now();
    let Err(fault) = play(steps).await else { panic!("it should fail before the first content") };
    (fault.class, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_stream_arrives_as_it_was_sent_but_for_the_usage_that_only_we_asked_for() {
    let (text, end) =
        play(vec![Say(ROLE), Say(PING), Say(HELLO), Say(STOP), Say(USAGE), Say(DONE)]).await.expect("served");
    assert_eq!(text, [ROLE, PING, HELLO, STOP, DONE].concat());
    assert_eq!(end.error.map(|error| error.kind), None);
    assert_eq!((end.answer.text.as_str(), end.answer.model.as_deref()), ("hello", Some("m")));
    assert_eq!(end.attempt.cost_usd, Some(Usd(2.0)));
    assert!(!end.attempt.usage_estimated);
}

#[tokio::test(start_paused = true)]
async fn everything_up_to_the_first_content_is_released_with_it() {
    let journal = Journal::default();
    let script = script(vec![Say(ROLE), Wait(1), Say(PING), Wait(1), Say(HELLO), Hang]);
    let mut committed = flow(script.body, &journal).commit().await.expect("content came");
    let Some(Piece::Bytes(first)) = committed.next().await else { panic!("bytes come first") };
    assert_eq!(first, [ROLE, PING, HELLO].concat());
    assert_eq!(journal.attempts(), [], "it is still under way");
}

#[tokio::test(start_paused = true)]
async fn pings_and_roles_do_not_stop_the_clock_of_the_first_content() {
    let ten = Duration::from_secs(10);
    assert_eq!(fails(vec![Hang]).await, (Class::Timeout, ten));
    assert_eq!(fails(vec![Say(ROLE), Hang]).await, (Class::Timeout, ten));
    let pings = [Say(PING), Wait(1)].repeat(100);
    assert_eq!(fails(pings).await, (Class::Timeout, ten));
    // Nor do pings without a pause, which leave the timer no time of their own.
    let endless = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok(Bytes::from_static(PING.as_bytes())), ()))
    });
    let Err(fault) = flow(Box::pin(endless), &Journal::default()).commit().await else { panic!("no content comes") };
    assert_eq!(fault.class, Class::Timeout);
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_before_the_content_is_unseen() {
    let zero = Duration::ZERO;
    assert_eq!(fails(vec![]).await, (Class::Protocol, zero));
    assert_eq!(fails(vec![Say(ROLE)]).await, (Class::Protocol, zero));
    assert_eq!(fails(vec![Say(ROLE), Break]).await, (Class::Protocol, zero));
    assert_eq!(fails(vec![Say(ROLE), Say(DONE)]).await, (Class::Protocol, zero));
    assert_eq!(fails(vec![Say("data: {\"choi\n\n")]).await, (Class::Protocol, zero));
    let overloaded = "data: {\"error\":{\"message\":\"x\",\"type\":\"overloaded_error\"}}\n\n";
    assert_eq!(fails(vec![Say(ROLE), Say(overloaded)]).await, (Class::Broken, zero));
    // The error came in one breath with the content, which nobody has seen yet.
    let both: &'static str = Box::leak(format!("{HELLO}{overloaded}").into_boxed_str());
    assert_eq!(fails(vec![Say(both)]).await, (Class::Broken, zero));
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_after_the_content_is_one_error_event_and_never_a_done() {
    let cases = [
        (vec![Say(HELLO)], Kind::UpstreamProtocol, 0),
        (vec![Say(HELLO), Break], Kind::UpstreamProtocol, 0),
        (vec![Say(HELLO), Hang], Kind::UpstreamTimeout, 5),
        ([vec![Say(HELLO)], [Say(PING), Wait(1)].repeat(100)].concat(), Kind::UpstreamTimeout, 5),
        (vec![Say(HELLO), Say("data: {\"cho\n\n"), Say(DONE)], Kind::UpstreamProtocol, 0),
        (vec![Say(HELLO), Say("data: {\"error\":\"x\"}\n\n")], Kind::UpstreamUnavailable, 0),
    ];
    for (steps, kind, seconds) in cases {
        let start = Instant::now();
        let (text, end) = play(steps).await.expect("it had content");
        assert_eq!(start.elapsed(), Duration::from_secs(seconds));
        let error = text.rsplit_once("data: ").expect("an event").1;
        let event: serde_json::Value = serde_json::from_str(error).expect("JSON");
        assert_eq!(
            (&event["error"]["code"], &event["error"]["type"]),
            (&kind.name().into(), &"upstream_error".into()),
            "{text}"
        );
        assert_eq!(event["usage"]["completion_tokens"], 1, "{text}");
        assert_eq!(text.matches("\"error\"").count(), 1, "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
        assert_eq!(end.error.map(|error| error.kind), Some(kind));
        assert_eq!((end.attempt.error, end.attempt.usage_estimated), (Some(kind), true));
        assert!(end.attempt.cost_usd.is_some(), "what was produced is billed");
    }
}

#[tokio::test(start_paused = true)]
async fn content_keeps_a_stream_alive_until_the_time_for_all_is_over() {
    let start = Instant::now();
    let (_, end) = play([Say(HELLO), Wait(4)].repeat(100)).await.expect("it had content");
    assert_eq!(end.error.map(|error| error.kind), Some(Kind::UpstreamTimeout));
    assert_eq!(start.elapsed(), Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_whole_needs_no_proper_ending() {
    for tail in
        [vec![], vec![Break], vec![Hang], vec![Say(USAGE), Hang], vec![Say(DONE), Hang], vec![Say("data: [DONE]")]]
    {
        let (text, end) = play([vec![Say(HELLO), Say(STOP)], tail].concat()).await.expect("served");
        assert!(end.error.is_none(), "{text}");
        assert!(text.starts_with(&[HELLO, STOP].concat()), "{text}");
    }
    // An empty answer is an answer, too.
    let (text, end) = play(vec![Say(ROLE), Say(STOP), Say(DONE)]).await.expect("served");
    assert_eq!((text, end.answer.text), ([ROLE, STOP, DONE].concat(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_cancels_the_call_and_is_billed_for_what_was_made() {
    let journal = Journal::default();
    let script = script(vec![Say(HELLO), Say(HELLO), Hang]);
    let dropped = script.dropped.clone();
    let mut committed = flow(script.body, &journal).commit().await.expect("content came");
    committed.next().await;
    committed.next().await;
    assert!(!dropped.load(Ordering::SeqCst));
    drop(committed);
    assert!(dropped.load(Ordering::SeqCst));
    let attempts = journal.attempts();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].error, attempts[0].usage_estimated), (None, true));
    let usage = attempts[0].usage.expect("counted here");
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(6), Some(2)));
    assert!(attempts[0].cost_usd.is_some_and(|cost| cost.get() > 0.0));
    assert_eq!(journal.cut_answer().expect("said something").text, "hellohello");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_before_any_content_leaves_an_attempt_of_unknown_cost() {
    let journal = Journal::default();
    let script = script(vec![Say(ROLE), Hang]);
    let waiting = tokio::time::timeout(Duration::from_secs(1), flow(script.body, &journal).commit());
    assert!(waiting.await.is_err());
    let attempts = journal.attempts();
    assert_eq!((attempts[0].error, attempts[0].usage, attempts[0].cost_usd), (None, None, None));
    assert_eq!(journal.cut_answer(), None);
}

#[tokio::test(start_paused = true)]
async fn an_endless_event_is_an_error() {
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let body = futures::stream::repeat_with(move || Ok(piece.clone()));
    let Err(fault) = flow(Box::pin(body), &Journal::default()).commit().await else { panic!("no event comes") };
    assert_eq!(fault.class, Class::Protocol);
}
