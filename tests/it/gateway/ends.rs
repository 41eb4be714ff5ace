//! Exactly one `Completed` for every admitted request, however it ends.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pointsman::admission;
use pointsman::base::Kind;
use pointsman::ledger::{Event, Outcome};
use pointsman::policy::{Ask, Candidate, Policy, Scored};
use tokio::io::AsyncWriteExt;

use super::house::{House, Plans, ask};
use super::upstream::{Act, events, stream, whole};

const STREAMED: &str = r#"{"model":"a","stream":true,"messages":[{"role":"user","content":"q"}]}"#;

/// The events of one request, by kind.
async fn kinds(house: &House) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Decided(_) => "decided",
        Event::Completed(_) => "completed",
        Event::Feedback(_) => "feedback",
    };
    house.events().await.iter().map(name).collect()
}

#[tokio::test]
async fn served_whole() {
    let house = House::new(whole("hi")).await;
    house.chat(ask("auto", "q")).await;
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    let completed = house.completed().await.remove(0);
    assert_eq!(completed.outcome, Outcome::Served);
    let channels: Vec<&str> = completed.scores.iter().map(|score| score.channel.as_str()).collect();
    assert_eq!(channels, ["truncation", "refusal", "empty"]);
}

#[tokio::test]
async fn served_as_a_stream() {
    let house = House::new(stream(&["a", "b"])).await;
    house.chat(STREAMED).await;
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    let completed = house.completed().await.remove(0);
    assert_eq!(completed.outcome, Outcome::Served);
    assert!(completed.first_token_ms.is_some_and(|first| first <= completed.total_ms));
}

#[tokio::test]
async fn every_deployment_failed() {
    let house = House::new(Act::Json(503, vec![("retry-after", "7".into())], "{}".into())).await;
    let reply = house.chat(ask("auto", "q")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"]["metadata"]["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    let completed = house.completed().await.remove(0);
    assert_eq!(completed.outcome, Outcome::Failed(Kind::UpstreamUnavailable));
    assert_eq!((completed.attempts.len(), completed.served, completed.scores.len()), (2, None, 0));
}

#[tokio::test]
async fn an_unknown_model() {
    let house = House::new(whole("hi")).await;
    assert_eq!(house.chat(ask("nobody/knows", "q")).await.status, 404);
    assert_eq!(kinds(&house).await, ["completed"]);
    assert_eq!(house.completed().await[0].outcome, Outcome::Failed(Kind::NotFound));
}

#[tokio::test]
async fn broken_off_after_the_first_content() {
    let mut pieces: Vec<Option<String>> = events(&["one "]).into_iter().take(2).map(Some).collect();
    pieces.push(Some("data: {\"error\":{\"message\":\"overloaded\"}}\n\n".to_owned()));
    let house = House::new(Act::Stream(pieces)).await;
    let reply = house.chat(STREAMED).await;
    assert!(reply.text().contains("one ") && !reply.text().contains("[DONE]"), "{}", reply.text());
    assert!(reply.text().contains("\"error\""));
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    let completed = house.completed().await.remove(0);
    assert!(matches!(completed.outcome, Outcome::Broken(_)), "{:?}", completed.outcome);
    assert!(completed.scores.is_empty(), "an answer that was never whole is not judged");
}

#[tokio::test]
async fn the_client_hangs_up_in_the_middle_of_a_stream() {
    let mut pieces: Vec<Option<String>> = events(&["one "]).into_iter().take(2).map(Some).collect();
    pieces.push(None);
    let house = House::new(Act::Stream(pieces)).await;
    let (address, stop, ended) = house.listen(Duration::from_secs(5)).await;
    let client = reqwest::Client::new();
    let request = client.post(format!("http://{address}/v1/chat/completions")).body(STREAMED);
    let response = request.header("content-type", "application/json").send().await.expect("a reply");
    let mut pieces = response.bytes_stream();
    pieces.next().await.expect("a piece").expect("whole");
    drop(pieces);
    drop(client);
    house.upstream.abandoned().await;
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    let completed = house.completed().await.remove(0);
    assert_eq!(completed.outcome, Outcome::HungUp);
    assert!(completed.usage_estimated && completed.usage.is_some(), "{completed:?}");
    assert!(completed.cost_usd.is_some_and(|cost| cost.get() > 0.0), "what was produced is billed");
    assert_eq!(completed.response_id.as_deref(), Some("cmpl-8"));
    drop(stop);
    ended.await;
}

#[tokio::test]
async fn the_client_hangs_up_before_the_first_content() {
    let house = House::new(Act::Hang).await;
    let (address, stop, ended) = house.listen(Duration::from_secs(5)).await;
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("listening");
    let body = ask("a", "q");
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await.expect("taken");
    house.upstream.was_asked(1).await;
    drop(socket);
    house.first_completed().await;
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    let completed = house.completed().await.remove(0);
    assert_eq!((completed.outcome, completed.attempts.len()), (Outcome::HungUp, 1));
    assert_eq!(completed.cost_usd, None, "what the provider charges for it is not known");
    drop(stop);
    ended.await;
}

/// A policy with a fault.
#[derive(Debug)]
struct Faulty;

impl Policy for Faulty {
    fn version(&self) -> &'static str {
        "faulty"
    }

    fn score(&self, _: &Ask<'_>, _: &[Candidate]) -> Scored {
        panic!("a fault in the policy")
    }
}

#[tokio::test]
async fn a_panic_on_the_path() {
    let house = House::with(whole("hi"), Plans { policy: Some(Arc::new(Faulty)), ..Plans::default() }).await;
    let reply = house.chat(ask("auto", "q")).await;
    assert_eq!((reply.status.as_u16(), reply.json()["error"]["code"].clone()), (500, "internal".into()));
    assert!(reply.header("x-request-id").is_some());
    assert_eq!(kinds(&house).await, ["completed"]);
    assert_eq!(house.completed().await[0].outcome, Outcome::Failed(Kind::Internal));
    assert_eq!(house.gateway.admission().in_flight(), 0, "its place was given back");
}

#[tokio::test]
async fn the_process_drains() {
    let mut pieces: Vec<Option<String>> = events(&["one "]).into_iter().take(2).map(Some).collect();
    pieces.push(None);
    let house = House::new(Act::Stream(pieces)).await;
    let (address, stop, ended) = house.listen(Duration::from_millis(20)).await;
    let request = reqwest::Client::new().post(format!("http://{address}/v1/chat/completions")).body(STREAMED);
    let response = request.header("content-type", "application/json").send().await.expect("a reply");
    let mut pieces = response.bytes_stream();
    pieces.next().await.expect("a piece").expect("whole");
    stop.send(()).expect("serving");
    ended.await;
    assert_eq!(kinds(&house).await, ["decided", "completed"]);
    assert_eq!(house.completed().await[0].outcome, Outcome::Dropped);
}

#[tokio::test]
async fn a_stream_that_ends_within_the_time_to_drain_is_served() {
    let mut pieces: Vec<Option<String>> = events(&["one ", "two"]).into_iter().map(Some).collect();
    pieces.insert(2, None);
    let house = House::new(Act::Stream(pieces)).await;
    let (address, stop, ended) = house.listen(Duration::from_secs(30)).await;
    let request = reqwest::Client::new().post(format!("http://{address}/v1/chat/completions")).body(STREAMED);
    let response = request.header("content-type", "application/json").send().await.expect("a reply");
    let mut pieces = response.bytes_stream();
    pieces.next().await.expect("a piece").expect("whole");
    stop.send(()).expect("serving");
    let rest = async {
        house.upstream.go_on();
        let mut rest = String::new();
        while let Some(piece) = pieces.next().await {
            rest.push_str(std::str::from_utf8(&piece.expect("whole")).expect("UTF-8"));
        }
        rest
    };
    let (rest, ()) = futures::join!(rest, ended);
    assert!(rest.ends_with("data: [DONE]\n\n"));
    assert_eq!(house.completed().await[0].outcome, Outcome::Served);
}

#[tokio::test]
async fn a_request_turned_away_at_the_door_makes_no_event() {
    let admission = admission::Config { max_in_flight: 1, ..admission::Config::default() };
    let house = House::with(Act::Hang, Plans { admission, ..Plans::default() }).await;
    let first = house.chat(ask("a", "q"));
    let second = async {
        house.upstream.was_asked(1).await;
        house.chat(ask("a", "q")).await
    };
    tokio::pin!(first);
    let refused = tokio::select! {
        _ = &mut first => panic!("the provider hangs"),
        refused = second => refused,
    };
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("x-pointsman-decision"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_requests_at_sixty_four_at_once() {
    let house = House::new(whole("hi")).await;
    let replies = futures::stream::iter(0..2_000)
        .map(|i| {
            let house = &house;
            async move { house.chat(ask("auto", &format!("question {i}"))).await.status.as_u16() }
        })
        .buffer_unordered(64);
    let bad: Vec<u16> = replies.filter(|status| std::future::ready(*status != 200)).collect().await;
    assert_eq!(bad, Vec::<u16>::new());
    let completed = house.completed().await;
    let ids: std::collections::BTreeSet<_> = completed.iter().map(|event| event.id).collect();
    assert_eq!((completed.len(), ids.len()), (2_000, 2_000));
    assert!(completed.iter().all(|event| event.outcome == Outcome::Served));
    assert_eq!(house.gateway.admission().in_flight(), 0);
}
