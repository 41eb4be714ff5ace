//! Equal requests at once: one call upstream, the same answer for all, whoever hangs up.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use futures::future::join_all;
use pointsman::base::Seed;
use pointsman::ledger::{Completed, Outcome};
use tower::ServiceExt;

use super::house::{House, Replied, post};
use super::upstream::{Act, events, stream, whole};

const STREAMED: &str = r#"{"model":"a","temperature":0,"stream":true,"messages":[{"role":"user","content":"q"}]}"#;
const WHOLE: &str = r#"{"model":"a","temperature":0,"messages":[{"role":"user","content":"q"}]}"#;

fn request(body: &'static str) -> Request<Body> {
    post("/v1/chat/completions", body)
}

/// Waits until so many requests are under way.
async fn under_way(house: &House, count: usize) {
    while house.gateway.admission().in_flight() < count {
        tokio::task::yield_now().await;
    }
}

/// A stream that stops after so many events until it is told to go on.
fn halting(pieces: &[&str], after: usize) -> Act {
    let mut events: Vec<Option<String>> = events(pieces).into_iter().map(Some).collect();
    events.insert(after, None);
    Act::Stream(events)
}

async fn read(house: Arc<House>, body: &'static str) -> Replied {
    house.send(request(body)).await
}

fn spawn_all(house: &Arc<House>, count: usize, body: &'static str) -> tokio::task::JoinSet<Replied> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        tasks.spawn(read(Arc::clone(house), body));
    }
    tasks
}

fn cost(completed: &[Completed]) -> (usize, f64) {
    let paid = completed.iter().filter(|completed| !completed.attempts.is_empty()).count();
    (paid, completed.iter().filter_map(|completed| completed.cost_usd).map(pointsman::base::Usd::get).sum())
}

#[tokio::test]
async fn a_thousand_equal_streams_are_one_call() {
    let pieces = ["Hello, ", "big ", "wide ", "world"];
    let mut gated = vec![None];
    gated.extend(events(&pieces).into_iter().map(Some));
    let house = Arc::new(House::new(Act::Stream(gated)).await);
    let tasks = spawn_all(&house, 1_000, STREAMED);
    under_way(&house, 1_000).await;
    house.upstream.go_on();
    let replies = tasks.join_all().await;
    assert_eq!(house.upstream.asked().len(), 1);
    let first = replies[0].text();
    assert!(first.contains("wide ") && first.ends_with("data: [DONE]\n\n"));
    assert!(replies.iter().all(|reply| reply.text() == first));
    let shared = replies.iter().filter(|reply| reply.header("x-pointsman-cache") == Some("coalesced")).count();
    assert_eq!(shared, 999);
    let completed = house.completed().await;
    assert_eq!(completed.len(), 1_000, "each request has its own event");
    let (paid, sum) = cost(&completed);
    assert!(completed.iter().all(|completed| completed.outcome == Outcome::Served));
    assert_eq!(paid, 1, "the money is booked once");
    assert!((sum - (9.0 + 4.0 * 4.0) * 1e-6).abs() < 1e-12, "{sum}");
    assert_eq!(house.decided().await.len(), 1);
}

#[tokio::test]
async fn whole_answers_are_shared_too() {
    let house = Arc::new(House::new(Act::Hang).await);
    house.upstream.next(whole("hi"));
    let replies = join_all((0..50).map(|_| house.send(request(WHOLE)))).await;
    assert_eq!(house.upstream.asked().len(), 1);
    assert!(replies.iter().all(|reply| reply.text() == replies[0].text() && reply.status == 200));
    assert_eq!(cost(&house.completed().await).0, 1);
}

/// A stream of these pieces, of which the request that flew reads this many events and hangs up while so many others
/// sit beside it.
async fn the_first_one_leaves(pieces: &[&str], leaves_after: usize, beside: usize) {
    let whole: String = events(pieces).concat();
    let house = Arc::new(House::new(halting(pieces, leaves_after)).await);
    // The first one, by hand.
    let mut first = Box::pin(house.router.clone().oneshot(request(STREAMED)));
    assert!(futures::poll!(&mut first).is_pending());
    let others = spawn_all(&house, beside, STREAMED);
    under_way(&house, beside + 1).await;
    house.upstream.was_asked(1).await;
    // The second event is the first content; before that nothing is given out.
    let mut body = None;
    if leaves_after >= 2 {
        let mut stream = (&mut first).await.expect("a reply").into_body().into_data_stream();
        let (mut read, sent) = (0, events(pieces)[..leaves_after].concat().len());
        while read < sent {
            read += stream.next().await.expect("what was sent").expect("bytes").len();
        }
        body = Some(stream);
    }
    drop((first, body));
    house.upstream.go_on();
    let replies = others.join_all().await;
    assert_eq!(replies.len(), beside);
    assert!(replies.iter().all(|reply| reply.text() == replies[0].text()), "left after {leaves_after}");
    let usage = whole.rfind("data: {").expect("usage");
    assert!(replies[0].text().starts_with(&whole[..usage]), "left after {leaves_after}: {}", replies[0].text());
    assert_eq!(house.upstream.asked().len(), 1, "left after {leaves_after}");
    let completed = house.completed().await;
    assert_eq!(completed.len(), beside + 1);
    assert_eq!(cost(&completed).0, 1, "left after {leaves_after}");
    let gone: Vec<&Completed> = completed.iter().filter(|completed| completed.outcome == Outcome::HungUp).collect();
    assert!(gone.len() == 1 && gone[0].attempts.len() == 1, "left after {leaves_after}: {gone:?}");
    assert_eq!(house.send(request(STREAMED)).await.header("x-pointsman-cache"), Some("hit"));
}

#[tokio::test]
async fn the_first_one_hangs_up_at_any_event_and_the_others_have_it_all() {
    let pieces = ["one ", "two ", "three"];
    for leaves_after in 0..events(&pieces).len() - 1 {
        the_first_one_leaves(&pieces, leaves_after, 20).await;
    }
}

#[tokio::test]
async fn a_thousand_have_it_all_when_the_first_one_hangs_up_at_a_random_chunk() {
    let pieces: Vec<String> = (0..40).map(|n| format!("word {n} ")).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    for round in 0..2 {
        let draw = Seed(round).uniform("chunk");
        the_first_one_leaves(&pieces, 2 + (draw * 38.0) as usize, 1_000).await;
    }
}

#[tokio::test]
async fn who_reads_late_has_it_all_and_keeps_nobody_waiting() {
    let pieces = ["one ", "two ", "three"];
    let house = Arc::new(House::new(halting(&pieces, 2)).await);
    let (late, mut prompt) = (house.router.clone().oneshot(request(STREAMED)), spawn_all(&house, 5, STREAMED));
    let late = late.await.expect("a reply");
    under_way(&house, 6).await;
    house.upstream.go_on();
    let first = prompt.join_next().await.expect("five of them").expect("no panic");
    assert!(prompt.join_all().await.iter().all(|reply| reply.text() == first.text()));
    let body = axum::body::to_bytes(late.into_body(), usize::MAX).await.expect("a whole body");
    assert_eq!(body, first.body);
    assert_eq!(house.upstream.asked().len(), 1);
}

#[tokio::test]
async fn when_all_hang_up_the_call_is_cancelled() {
    let mut gated: Vec<Option<String>> = events(&["half"]).into_iter().map(Some).take(2).collect();
    gated.push(None);
    let house = Arc::new(House::new(Act::Stream(gated)).await);
    let (mut one, mut other) =
        (house.router.clone().oneshot(request(STREAMED)), house.router.clone().oneshot(request(STREAMED)));
    let (one, other) = tokio::join!(&mut one, &mut other);
    drop((one, other));
    house.upstream.abandoned().await;
    let completed = house.completed().await;
    assert_eq!(completed.len(), 2);
    assert!(completed.iter().all(|completed| completed.outcome == Outcome::HungUp));
    assert_eq!(cost(&completed).0, 1);
}

#[tokio::test]
async fn a_failed_call_is_made_once_more_for_all() {
    let house = Arc::new(House::new(whole("hi")).await);
    house.upstream.next(Act::Json(500, vec![], "{}".into()));
    let replies = join_all((0..10).map(|_| house.send(request(WHOLE)))).await;
    assert_eq!(house.upstream.asked().len(), 2);
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(served, 9, "only the one whose call failed sees the error");
    assert_eq!(cost(&house.completed().await).0, 2);
}

#[tokio::test]
async fn who_wants_a_fresh_answer_or_another_form_flies_alone() {
    let house = Arc::new(House::new(whole("hi")).await);
    house.upstream.next(whole("hi"));
    let mut fresh = request(WHOLE);
    fresh.headers_mut().insert("cache-control", "no-cache".parse().expect("a value"));
    let sampled = request(r#"{"model":"a","messages":[{"role":"user","content":"q"}]}"#);
    let again = request(r#"{"model":"a","messages":[{"role":"user","content":"q"}]}"#);
    let replies = join_all([request(WHOLE), fresh, sampled, again].map(|request| house.send(request))).await;
    assert!(replies.iter().all(|reply| reply.header("x-pointsman-cache") != Some("coalesced")));
    assert_eq!(house.upstream.asked().len(), 4);
    let house = Arc::new(House::new(stream(&["a"])).await);
    let (one, other) = tokio::join!(
        house.send(request(STREAMED)),
        house.send(post("/v1/chat/completions", STREAMED.replace("\"q\"", "\"r\"")))
    );
    assert_eq!((one.status, other.status, house.upstream.asked().len()), (one.status, one.status, 2));
}
