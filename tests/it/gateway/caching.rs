//! Answers from memory: what hits, what may be kept, and what a hit looks like.

use pointsman::admission;
use pointsman::cache::{self, Repeats};
use serde_json::{Value, json};

use super::house::{House, Plans, Replied, post};
use super::upstream::{Act, stream, whole, whole_body};

const ASKED: &str = r#"{"model":"a","temperature":0,"messages":[{"role":"user","content":"q"}]}"#;
const STREAMED: &str = r#"{"model":"a","temperature":0.0,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"q"}]}"#;

/// Asks, and waits until what follows an answer is done.
async fn chat(house: &House, body: &str) -> Replied {
    let reply = house.chat(body.to_owned()).await;
    house.gateway.drained().await;
    reply
}

fn outcome(reply: &Replied) -> &str {
    reply.header("x-pointsman-cache").expect("always said")
}

/// The data of a stream's events.
fn chunks(reply: &Replied) -> Vec<Value> {
    let data = reply.text().split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let data = data.filter(|data| *data != "[DONE]");
    // The reader of this test has no such number.
    data.map(|data| serde_json::from_str(&data.replace("1e400", "1")).expect("JSON")).collect()
}

fn text_of(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_repeat_is_answered_from_memory_with_every_field() {
    let house = House::new(whole("hi there")).await;
    let first = chat(&house, ASKED).await;
    let second = chat(&house, ASKED).await;
    assert_eq!((outcome(&first), outcome(&second)), ("miss", "hit"));
    assert_eq!(house.upstream.asked().len(), 1);
    let id = format!("chatcmpl-{}", second.header("x-pointsman-decision").expect("an id").replace('-', ""));
    let created = second.text().split("\"created\": ").nth(1).and_then(|rest| rest.split(',').next()).expect("there");
    assert!(created.parse::<u64>().expect("a number") > 1_700_000_000);
    let expected = whole_body("hi there").replace("\"cmpl-7\"", &format!("\"{id}\""));
    assert_eq!(second.text(), expected.replace("1700000000", created), "every other byte is the provider's");
    assert_eq!(second.header("x-pointsman-cost-usd"), Some("0"));
    assert_eq!(second.header("x-pointsman-reason"), Some("cache"));
    assert!(second.header("age").is_some());
    let completed = house.completed().await;
    assert_eq!((completed.len(), completed[1].cost_usd.map(pointsman::base::Usd::get)), (2, Some(0.0)));
    assert!(completed[1].attempts.is_empty() && completed[1].served.is_none() && completed[1].scores.is_empty());
    assert_eq!(completed[1].response_id.as_deref(), Some(id.as_str()));
    assert_eq!(house.decided().await.len(), 1, "nothing was chosen for the repeat");
}

#[tokio::test]
async fn an_answer_given_whole_repeats_as_a_stream() {
    let house = House::new(whole("Hello, big wide world")).await;
    chat(&house, ASKED).await;
    let reply = chat(&house, STREAMED).await;
    assert_eq!(outcome(&reply), "hit");
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    let chunks = chunks(&reply);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(text_of(&chunks), "Hello, big wide world");
    assert!(chunks.len() > 5, "several chunks, not one lump");
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"]));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks.last().expect("usage")["usage"]["total_tokens"], 13);
    assert!(reply.text().contains("12345678901234567890123") && reply.text().contains("1e400"), "no digit is lost");
}

#[tokio::test]
async fn an_answer_given_as_a_stream_repeats_both_ways() {
    let house = House::new(stream(&["Hello, ", "big ", "wide world"])).await;
    chat(&house, STREAMED).await;
    let again = chat(&house, STREAMED).await;
    assert_eq!((outcome(&again), text_of(&chunks(&again)).as_str()), ("hit", "Hello, big wide world"));
    let whole = chat(&house, ASKED).await;
    assert_eq!(outcome(&whole), "hit");
    let answer = whole.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": "Hello, big wide world"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!((&answer["usage"]["total_tokens"], &answer["novel"]), (&json!(13), &json!(1)));
    assert_eq!(house.upstream.asked().len(), 1);
}

#[tokio::test]
async fn usage_is_replayed_only_to_those_who_ask() {
    let house = House::new(whole("x")).await;
    chat(&house, ASKED).await;
    let body = ASKED.replace("\"temperature\":0", "\"temperature\":0,\"stream\":true");
    let reply = chat(&house, &body).await;
    assert_eq!(outcome(&reply), "hit");
    assert!(!reply.text().contains("usage"), "{}", reply.text());
}

#[tokio::test]
async fn sampling_passes_by_unless_a_repeat_is_welcome() {
    let house = House::new(whole("hi")).await;
    let dice = ASKED.replace("\"temperature\":0,", "");
    for _ in 0..2 {
        assert_eq!(outcome(&chat(&house, &dice).await), "bypass");
    }
    let welcome = || {
        let mut request = post("/v1/chat/completions", dice.clone());
        request.headers_mut().insert("cache-control", "max-age=60".parse().expect("a value"));
        request
    };
    assert_eq!(outcome(&house.send(welcome()).await), "miss");
    house.gateway.drained().await;
    assert_eq!(outcome(&house.send(welcome()).await), "hit");
}

#[tokio::test]
async fn the_caller_controls_the_cache() {
    let house = House::new(whole("hi")).await;
    let with = |name: &'static str, value: &str| {
        let mut request = post("/v1/chat/completions", ASKED);
        request.headers_mut().insert(name, value.parse().expect("a value"));
        request
    };
    let mut seen = Vec::new();
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-pointsman-cache", "off"),
        ("cache-control", "no-cache"),
        ("cache-control", "only-if-cached"),
        ("cache-control", "max-age=0"),
        ("cache-control", "no-store"),
    ] {
        let reply = house.send(with(name, value)).await;
        house.gateway.drained().await;
        seen.push((reply.status.as_u16(), outcome(&reply).to_owned()));
    }
    let expected = [(200, "bypass"), (200, "bypass"), (200, "miss"), (200, "hit"), (200, "miss"), (200, "bypass")];
    assert_eq!(seen, expected.map(|(status, outcome)| (status, outcome.to_owned())));
}

#[tokio::test]
async fn an_operator_may_switch_it_off_or_wide_open() {
    for (repeats, outcomes) in [(Repeats::Off, ["bypass", "bypass"]), (Repeats::Always, ["miss", "hit"])] {
        let cache = cache::Config { repeats, ..cache::Config::default() };
        let house = House::with(whole("hi"), Plans { cache, ..Plans::default() }).await;
        let dice = ASKED.replace("\"temperature\":0", "\"temperature\":1");
        for wanted in outcomes {
            assert_eq!(outcome(&chat(&house, &dice).await), wanted, "{repeats:?}");
        }
    }
}

#[tokio::test]
async fn only_good_answers_are_kept() {
    let finished = |text: &str, reason: &str| {
        let body = json!({"id": "x", "choices": [{"index": 0, "finish_reason": reason,
                          "message": {"role": "assistant", "content": text}}]});
        Act::Json(200, vec![], body.to_string())
    };
    let cut: Vec<Option<String>> = super::upstream::events(&["half"]).into_iter().take(2).map(Some).collect();
    for (name, act, body) in [
        ("an error", Act::Json(500, vec![], "{}".into()), ASKED),
        ("cut by the limit", finished("and so", "length"), ASKED),
        ("filtered", finished("x", "content_filter"), ASKED),
        ("empty", finished("", "stop"), ASKED),
        ("a refusal", finished("I'm sorry, but I can't help with that.", "stop"), ASKED),
        ("a stream that broke off", Act::Stream(cut), STREAMED),
    ] {
        let house = House::new(act).await;
        for _ in 0..2 {
            assert_eq!(outcome(&chat(&house, body).await), "miss", "{name}");
        }
        assert_eq!(house.upstream.asked().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_answer_for_one_wish_is_none_for_another() {
    let house = House::new(whole("hi")).await;
    let body = |model: &str| ASKED.replace("\"a\"", &format!("\"{model}\""));
    for model in ["a", "b", "auto", "auto:best", "auto:cheap", "both", "a@here"] {
        assert_eq!(outcome(&chat(&house, &body(model)).await), "miss", "{model}");
    }
    // Plain `auto` is `auto:balanced`.
    assert_eq!(outcome(&chat(&house, &body("auto:balanced")).await), "hit");
}

#[tokio::test]
async fn a_reported_answer_is_not_given_again_and_only_its_tenant_may_report_it() {
    let key = |tenant: &str| admission::Key {
        tenant: tenant.into(),
        sha256: super::house::sha256(tenant),
        preset: None,
        models: None,
    };
    let admission = admission::Config { keys: vec![key("red"), key("blue")], ..admission::Config::default() };
    let house = House::with(whole("hi"), Plans { admission, ..Plans::default() }).await;
    let send = async |tenant: &str, path: &str, body: String| {
        let mut request = post(path, body);
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a value"));
        let reply = house.send(request).await;
        house.gateway.drained().await;
        reply
    };
    let chat = "/v1/chat/completions";
    send("red", chat, ASKED.to_owned()).await;
    let hit = send("red", chat, ASKED.to_owned()).await;
    let id = hit.header("x-pointsman-cache-id").expect("a hit says its id").to_owned();
    assert_eq!(outcome(&send("blue", chat, ASKED.to_owned()).await), "miss", "another tenant's answer is none");
    let report = json!({"id": id}).to_string();
    assert_eq!(send("blue", "/v1/cache/report", report.clone()).await.status, 404);
    assert_eq!(outcome(&send("red", chat, ASKED.to_owned()).await), "hit");
    assert_eq!(send("red", "/v1/cache/report", report.clone()).await.status, 200);
    assert_eq!(outcome(&send("red", chat, ASKED.to_owned()).await), "miss");
    assert_eq!(send("red", "/v1/cache/report", json!({"id": "x"}).to_string()).await.status, 404);
}
