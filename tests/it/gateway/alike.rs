//! Answers to like prompts: what is served, on what evidence, and what never is.

use std::sync::Arc;
use std::time::Duration;

use pointsman::admission;
use pointsman::base::Seed;
use pointsman::cache::{self, SemanticConfig};
use pointsman::embed::{DIMENSIONS, Embedder, Embedding, Origin, Pending, Status};
use serde_json::{Value, json};

use super::house::{House, Plans, Replied, post, sha256};
use super::upstream::{Act, whole};

/// Texts with the same last word are alike (cosine about .99), others are not.
struct ByLastWord;

fn direction(name: &str) -> Vec<f32> {
    let seed = Seed(u64::from_le_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().expect("32 bytes")));
    (0..DIMENSIONS).map(|i| seed.uniform(&i.to_string()) as f32 - 0.5).collect()
}

impl Embedder for ByLastWord {
    fn embed<'a>(&'a self, text: &'a str, _: Duration) -> Pending<'a, Option<Embedding>> {
        let last = text.split_whitespace().next_back().unwrap_or_default();
        let mixed: Vec<f32> =
            direction(last).iter().zip(direction(text)).map(|(topic, own)| topic + 0.1 * own).collect();
        let length = mixed.iter().map(|x| x * x).sum::<f32>().sqrt();
        let vector = mixed.into_iter().map(|x| x / length).collect();
        Box::pin(std::future::ready(Some(Embedding { vector, origin: Origin::Encoder })))
    }

    fn id(&self) -> &'static str {
        "by-last-word"
    }

    fn status(&self) -> Status {
        Status::Ready
    }

    fn settled(&self) -> Pending<'_, Status> {
        Box::pin(std::future::ready(Status::Ready))
    }
}

/// A share of wrong hits that a test can prove with few checks: 14 without a wrong one.
pub(super) fn settings() -> SemanticConfig {
    SemanticConfig { max_wrong: Some(0.2), min_labels: 10, check_share: 0.5, ..SemanticConfig::default() }
}

pub(super) async fn house(semantic: SemanticConfig, keys: &[&str]) -> House {
    let key =
        |tenant: &&str| admission::Key { tenant: (*tenant).into(), sha256: sha256(tenant), preset: None, models: None };
    let admission = admission::Config { keys: keys.iter().map(key).collect(), ..admission::Config::default() };
    let cache = cache::Config { semantic, ..cache::Config::default() };
    let plans = Plans { admission, cache, embedder: Arc::new(ByLastWord), ..Plans::default() };
    House::with(whole("A river is flowing water."), plans).await
}

pub(super) fn body(words: &str) -> Value {
    json!({"model": "a", "temperature": 0, "messages": [{"role": "user", "content": words}]})
}

async fn send(house: &House, tenant: &str, path: &str, body: &Value) -> Replied {
    let mut request = post(path, body.to_string());
    request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a value"));
    let reply = house.send(request).await;
    house.gateway.drained().await;
    reply
}

pub(super) async fn ask(house: &House, body: &Value) -> Replied {
    send(house, "red", "/v1/chat/completions", body).await
}

pub(super) fn outcome(reply: &Replied) -> (&str, &str) {
    (
        reply.header("x-pointsman-cache").expect("always said"),
        reply.header("x-pointsman-cache-reason").unwrap_or_default(),
    )
}

/// A wording of the one question, different for every number, without a digit in it.
pub(super) fn wording(n: usize) -> String {
    let word: String = (0..4).map(|at| char::from(b'a' + (n >> (2 * at) & 3) as u8)).collect();
    format!("What would somebody called {word} say is a river")
}

/// Asks until the namespace serves; how many answers it took.
pub(super) async fn earn(house: &House) -> usize {
    for n in 0..60 {
        let reply = ask(house, &body(&wording(n))).await;
        match outcome(&reply) {
            ("semantic", _) => return n,
            ("miss", _) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("never served: {:#?}", house.gateway.cache().portraits(None))
}

#[tokio::test]
async fn a_new_namespace_is_in_the_shadow_until_the_evidence_allows_it_to_serve() {
    let house = house(settings(), &["red"]).await;
    let answered = earn(&house).await;
    let served = ask(&house, &body(&wording(200))).await;
    assert_eq!(outcome(&served), ("semantic", ""));
    let similarity: f64 = served.header("x-pointsman-cache-similarity").expect("said").parse().expect("a number");
    assert!((0.95..1.0).contains(&similarity), "{similarity}");
    assert!(served.header("age").is_some() && served.header("x-pointsman-cost-usd") == Some("0"));
    assert!(served.text().contains("A river is flowing water."));
    let space = &house.gateway.cache().portraits(None)[0];
    assert!(space.standing.checks >= 14 && space.standing.wrong == 0 && space.bound <= 0.2, "{space:?}");
    assert!(answered >= 14, "{answered}");
    // Of one question one prompt stands in the index: the others were covered by it.
    assert_eq!(space.entries, 1);
    let completed = house.completed().await;
    let reuse = completed.iter().find_map(|event| event.reuse.clone().filter(|reuse| reuse.similarity.is_some()));
    let reuse = reuse.expect("the ledger says so");
    assert!(reuse.right.is_some_and(|right| right >= 0.8) && reuse.id.len() > 64, "{reuse:?}");
}

#[tokio::test]
async fn a_share_of_what_is_served_is_checked_behind_the_callers_back() {
    let house = house(settings(), &["red"]).await;
    earn(&house).await;
    let before = house.gateway.cache().portraits(None)[0].standing.checks;
    for n in 100..140 {
        assert_eq!(outcome(&ask(&house, &body(&wording(n))).await).0, "semantic");
    }
    let checks = house.gateway.cache().portraits(None)[0].standing.checks - before;
    assert!((8..=32).contains(&checks), "{checks} of 40");
    // Each is a request of its own, with its own decision, cost and end.
    let behind: Vec<_> = house.completed().await.into_iter().filter(|event| event.background).collect();
    assert!(
        behind.len() as u64 >= checks
            && behind.iter().all(|event| event.cost_usd.is_some() && !event.attempts.is_empty())
    );
}

#[tokio::test]
async fn the_breaker_opens_when_what_is_served_turns_out_wrong() {
    let house = house(SemanticConfig { check_share: 1.0, ..settings() }, &["red"]).await;
    earn(&house).await;
    // What is said of each wording is right for that alone: no answer that is served could be.
    house.upstream.usually(Act::By(|asked| {
        let asked: Value = serde_json::from_slice(asked).expect("JSON");
        let question = asked["messages"][0]["content"].as_str().expect("a question");
        whole(&format!("Something else altogether, which is called {}", blake3::hash(question.as_bytes())))
    }));
    let mut served = 0;
    for n in 100..160 {
        let reply = ask(&house, &body(&wording(n))).await;
        match outcome(&reply) {
            ("semantic", _) => served += 1,
            ("miss", "exact_only" | "unsure") => break,
            other => panic!("{other:?}"),
        }
    }
    let space = &house.gateway.cache().portraits(None)[0];
    assert!(served < 12, "{served} {space:?}");
    assert!(space.standing.wrong > 0, "{space:?}");
}

#[tokio::test]
async fn a_reported_answer_goes_at_once_and_teaches() {
    let house = house(SemanticConfig { check_share: 0.001, ..settings() }, &["red", "blue"]).await;
    earn(&house).await;
    let hit = ask(&house, &body(&wording(100))).await;
    let report = json!({"id": hit.header("x-pointsman-cache-id").expect("said")});
    assert_eq!(send(&house, "blue", "/v1/cache/report", &report).await.status, 404);
    assert_eq!(send(&house, "red", "/v1/cache/report", &report).await.status, 200);
    let next = ask(&house, &body(&wording(100))).await;
    assert_eq!(outcome(&next), ("miss", "nothing_alike"));
    let space = &house.gateway.cache().portraits(None)[0];
    assert_eq!((space.standing.reports, space.standing.wrong), (1, 0), "a report is no sample of what is served");
}

/// What makes another request of one.
type Change<'a> = &'a dyn Fn(&mut Value);

#[tokio::test]
async fn nothing_that_shapes_the_answer_may_differ() {
    let house = house(settings(), &["red", "blue"]).await;
    earn(&house).await;
    let asked = |n: usize, change: &dyn Fn(&mut Value)| {
        let mut body = body(&wording(n));
        change(&mut body);
        body
    };
    let changes: [(&str, Change<'_>); 8] = [
        ("model", &|body| body["model"] = json!("b")),
        ("system prompt", &|body| {
            let last = body["messages"][0].clone();
            body["messages"] = json!([{"role": "system", "content": "Be brief."}, last]);
        }),
        ("an earlier message", &|body| {
            let last = body["messages"][0].clone();
            body["messages"] = json!([{"role": "user", "content": "Hello there."}, last]);
        }),
        ("format", &|body| body["response_format"] = json!({"type": "json_object"})),
        ("sampling", &|body| body["top_p"] = json!(0.5)),
        ("limit", &|body| body["max_tokens"] = json!(7)),
        ("stop", &|body| body["stop"] = json!(["x"])),
        ("user", &|body| body["user"] = json!("somebody")),
    ];
    for (at, (name, change)) in changes.iter().enumerate() {
        let reply = ask(&house, &asked(100 + at, change)).await;
        assert_eq!(outcome(&reply), ("miss", "nothing_alike"), "{name}");
    }
    let other = send(&house, "blue", "/v1/chat/completions", &body(&wording(120))).await;
    assert_eq!(outcome(&other), ("miss", "nothing_alike"), "another tenant");
    assert_eq!(outcome(&ask(&house, &body(&wording(121))).await).0, "semantic");
}

#[tokio::test]
async fn what_must_not_be_compared_never_is() {
    let house = house(settings(), &["red"]).await;
    earn(&house).await;
    let said = |words: &str| body(words);
    let with = |field: &str, value: Value| {
        let mut body = body(&wording(100));
        body[field] = value;
        body
    };
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let talk = json!([{"role": "user", "content": "What is a lake"}, {"role": "assistant", "content": "Still water."},
                      {"role": "user", "content": wording(100)}]);
    for (body, expected) in [
        (with("tools", tool), ("bypass", "tools")),
        (with("n", json!(2)), ("bypass", "many_choices")),
        (with("messages", talk), ("miss", "conversation")),
        (said("What is the latest news of the river"), ("miss", "time_bound")),
        (said("How much is on my account at the river"), ("miss", "personal")),
        (said("Please delete everything about the river"), ("miss", "act")),
        (said("What does the mail to jo@example.org say of the river"), ("miss", "identifier")),
        (said(&format!("{} river", "Why do the many rivers flow into so few seas? ".repeat(30))), ("miss", "long")),
        (said("What would nobody say is not a river"), ("miss", "negation")),
        (said("What would all 3 people say is a river"), ("miss", "numbers")),
    ] {
        let reply = ask(&house, &body).await;
        assert_eq!(outcome(&reply), expected, "{body}");
    }
}

#[tokio::test]
async fn answers_that_are_not_kept_are_not_found_by_like_prompts_either() {
    for act in [
        Act::Json(500, vec![], "{}".into()),
        Act::Json(
            200,
            vec![],
            json!({"id": "x", "choices": [{"index": 0, "finish_reason": "length",
            "message": {"role": "assistant", "content": "and so"}}]})
            .to_string(),
        ),
        whole("I'm sorry, but I can't help with that."),
    ] {
        let house = house(settings(), &["red"]).await;
        house.upstream.usually(act);
        for n in 0..3 {
            assert_eq!(outcome(&ask(&house, &body(&wording(n))).await), ("miss", "nothing_alike"));
        }
        assert!(house.gateway.cache().portraits(None).is_empty());
    }
}

#[tokio::test]
async fn off_by_default() {
    let house = house(SemanticConfig::default(), &["red"]).await;
    for n in 0..3 {
        assert_eq!(outcome(&ask(&house, &body(&wording(n))).await), ("miss", ""));
    }
    assert!(house.gateway.cache().portraits(None).is_empty());
}

#[tokio::test]
async fn a_tenant_purges_its_own_by_id_tag_namespace_model_time_or_all() {
    let house = house(settings(), &["red", "blue"]).await;
    let own = |words: &str| body(words);
    let purge = async |tenant: &str, what: Value| {
        send(&house, tenant, "/v1/cache/purge", &what).await.json()["forgotten"].as_u64()
    };
    let fill = async || {
        for words in ["What is a lake", "What is a kiln", "What is a weir"] {
            ask(&house, &own(words)).await;
        }
    };
    fill().await;
    let id = ask(&house, &own("What is a lake")).await.header("x-pointsman-cache-id").expect("a hit").to_owned();
    assert_eq!(purge("blue", json!({"id": id})).await, Some(0), "not another tenant's");
    assert_eq!(purge("blue", json!({"all": true})).await, Some(0));
    assert_eq!(purge("red", json!({"id": id})).await, Some(1));
    assert_eq!(purge("red", json!({"model": "b"})).await, Some(0));
    assert_eq!(purge("red", json!({"model": "a"})).await, Some(2));
    fill().await;
    assert_eq!(purge("red", json!({"since": house.gateway.clock().now()})).await, Some(0));
    assert_eq!(purge("red", json!({"before": house.gateway.clock().now()})).await, Some(3));
    fill().await;
    let name = house.gateway.cache().portraits(None)[0].namespace.clone();
    assert_eq!(purge("red", json!({"namespace": &name[..11]})).await, Some(0), "too short a name is none");
    assert_eq!(purge("blue", json!({"namespace": name})).await, Some(0));
    // As `pointsman cache show` shows it.
    assert_eq!(purge("red", json!({"namespace": &name[..12]})).await, Some(3));
    let mut tagged = post("/v1/chat/completions", own("What is a dam").to_string());
    tagged.headers_mut().insert("authorization", "Bearer red".parse().expect("a value"));
    tagged.headers_mut().insert("x-pointsman-cache-tags", "v1, docs".parse().expect("a value"));
    house.send(tagged).await;
    house.gateway.drained().await;
    assert_eq!(purge("red", json!({"tag": "docs"})).await, Some(1));
    fill().await;
    assert_eq!(purge("red", json!({"all": true})).await, Some(3));
    assert_eq!(outcome(&ask(&house, &own("What is a lake")).await).0, "miss");
    assert!(send(&house, "red", "/v1/cache/purge", &json!({"everything": 1})).await.status.is_client_error());
}

#[tokio::test]
async fn what_was_under_way_when_everything_was_forgotten_is_not_given_afterwards() {
    let house = house(SemanticConfig::default(), &["red"]).await;
    let streamed = json!({"model": "a", "temperature": 0, "stream": true,
                          "messages": [{"role": "user", "content": "What is a lake"}]});
    let events = super::upstream::events(&["old"]);
    let (head, tail) = events.split_at(2);
    let pieces = head.iter().cloned().map(Some).chain([None]).chain(tail.iter().cloned().map(Some)).collect();
    house.upstream.next(Act::Stream(pieces));
    let under_way = ask(&house, &streamed);
    let flushed = async {
        house.upstream.was_asked(1).await;
        let mut purge = post("/v1/cache/purge", json!({"all": true}).to_string());
        purge.headers_mut().insert("authorization", "Bearer red".parse().expect("a value"));
        house.send(purge).await;
        house.upstream.go_on();
    };
    let (reply, ()) = tokio::join!(under_way, flushed);
    assert!(reply.text().contains("old"));
    assert_eq!(outcome(&ask(&house, &streamed).await).0, "miss");
}

#[tokio::test]
async fn an_old_answer_is_renewed_behind_and_a_too_old_one_stands_in_for_a_failing_provider() {
    let cache = cache::Config {
        lifetime: Duration::from_hours(1),
        refresh_after: Duration::from_nanos(1),
        ..cache::Config::default()
    };
    let house = House::with(whole("old"), Plans { cache, ..Plans::default() }).await;
    let text = body("What is a lake").to_string();
    house.chat(text.clone()).await;
    house.gateway.drained().await;
    house.upstream.usually(whole("new"));
    let told = async || {
        let reply = house.chat(text.clone()).await;
        house.gateway.drained().await;
        let said = ["old", "new"].into_iter().find(|word| reply.text().contains(&format!("\"content\":\"{word}\"")));
        (outcome(&reply).0.to_owned(), said)
    };
    assert_eq!(told().await, ("hit".to_owned(), Some("old")));
    assert_eq!(told().await, ("hit".to_owned(), Some("new")));

    let cache = cache::Config {
        lifetime: Duration::from_nanos(1),
        stale_if_error: Duration::from_hours(1),
        ..cache::Config::default()
    };
    let house = House::with(whole("old"), Plans { cache, ..Plans::default() }).await;
    house.chat(text.clone()).await;
    house.gateway.drained().await;
    house.upstream.usually(Act::Json(500, vec![], "{}".into()));
    let reply = house.chat(text.clone()).await;
    assert_eq!((reply.status.as_u16(), outcome(&reply).0), (200, "stale"));
    assert_eq!(house.chat(body("What is a kiln").to_string()).await.status, 503, "nothing old to give");
}
