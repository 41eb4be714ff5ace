//! Every way to be refused, and the words of the refusal. The bodies are a snapshot: they are an interface.

use std::fmt::Write;

use axum::body::Body;
use axum::http::Request;
use pointsman::admission;

use super::house::{House, Plans, Replied, ask, post};
use super::upstream::{Act, whole};

fn shown(name: &str, reply: &Replied) -> String {
    let mut error = reply.json()["error"].clone();
    // What differs from run to run.
    if let Some(metadata) = error.get_mut("metadata") {
        metadata["decision"] = "(a decision)".into();
    }
    let mut text = format!("{name}\n  {}", reply.status);
    for header in ["retry-after", "www-authenticate", "allow"] {
        if let Some(value) = reply.header(header) {
            write!(text, "\n  {header}: {value}").expect("to a string");
        }
    }
    assert!(reply.header("x-request-id").is_some(), "{name}: no request id");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{name}");
    write!(text, "\n  {error}\n").expect("to a string");
    text
}

fn wish(name: &str, value: &str) -> Request<Body> {
    let mut request = post("/v1/chat/completions", ask("auto", "q"));
    request.headers_mut().insert(
        axum::http::HeaderName::try_from(name).expect("a name"),
        axum::http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
    );
    request
}

#[tokio::test]
async fn requests_that_cannot_be_understood() {
    let house = House::new(whole("hi")).await;
    let chat = |body: &'static str| post("/v1/chat/completions", body);
    let typed = |kind: &str| {
        Request::post("/v1/chat/completions").header("content-type", kind).body(Body::from("{}")).expect("a request")
    };
    let cases: Vec<(&str, Request<Body>)> = vec![
        ("no such route", Request::get("/v1/nothing").body(Body::empty()).expect("a request")),
        ("a wrong method", Request::get("/v1/chat/completions").body(Body::empty()).expect("a request")),
        ("a wrong content type", typed("text/plain")),
        ("an empty body", chat("")),
        ("not JSON", chat("hello")),
        ("cut JSON", chat("{\"model\":\"auto\",\"messages\":[")),
        ("not UTF-8", post("/v1/chat/completions", Body::from(&b"{\"model\":\"\xff\"}"[..]))),
        ("not an object", chat("[1,2]")),
        ("no model", chat(r#"{"messages":[{"role":"user","content":"q"}]}"#)),
        ("a wrong type of model", chat(r#"{"model":7,"messages":[{"role":"user","content":"q"}]}"#)),
        ("no messages", chat(r#"{"model":"auto"}"#)),
        ("empty messages", chat(r#"{"model":"auto","messages":[]}"#)),
        ("a wrong type of content", chat(r#"{"model":"auto","messages":[{"role":"user","content":7}]}"#)),
        ("an unknown model", post("/v1/chat/completions", ask("gpt-0", "q"))),
        ("an unknown preset", post("/v1/chat/completions", ask("auto:fastest", "q"))),
        ("an unknown pin", wish("x-pointsman-pin", "nowhere")),
        ("a weight that is no number", wish("x-pointsman-cost-weight", "NaN")),
        ("a negative weight", wish("x-pointsman-latency-weight", "-1")),
        ("a quality above one", wish("x-pointsman-min-quality", "2")),
        ("a wish that is not UTF-8", wish("x-pointsman-tags", "caf\u{e9}").tap_bytes()),
        ("a wish that does not exist", wish("x-pointsman-wieghts", "1")),
        ("nobody is left", wish("x-pointsman-exclude", "a,b")),
        ("too dear for the limit", wish("x-pointsman-max-cost-usd", "0")),
        ("only if cached, and it is not", wish("cache-control", "only-if-cached")),
        (
            "an image for models without eyes",
            chat(
                r#"{"model":"auto","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,x"}}]}]}"#,
            ),
        ),
        ("an unknown model of /v1/models", Request::get("/v1/models/x/y").body(Body::empty()).expect("a request")),
        ("a decision id that is none", Request::get("/v1/decisions/7").body(Body::empty()).expect("a request")),
        (
            "an unknown decision",
            Request::get("/v1/decisions/01900000-0000-7000-8000-000000000000").body(Body::empty()).expect("a request"),
        ),
        ("feedback about nothing", post("/v1/feedback", r#"{"score":1}"#)),
        ("feedback that says nothing", post("/v1/feedback", r#"{"response_id":"x"}"#)),
        ("feedback out of range", post("/v1/feedback", r#"{"response_id":"x","score":7}"#)),
        ("feedback of a wrong type", post("/v1/feedback", r#"{"response_id":"x","score":"good"}"#)),
        ("feedback with a typo", post("/v1/feedback", r#"{"response_id":"x","scroe":1}"#)),
        ("feedback in a channel of ours", post("/v1/feedback", r#"{"response_id":"x","score":1,"channel":"format"}"#)),
        ("feedback about an unknown answer", post("/v1/feedback", r#"{"response_id":"x","score":1}"#)),
        ("embeddings of nothing", post("/v1/embeddings", r#"{"model":"local/all-MiniLM-L6-v2","input":[]}"#)),
        ("embeddings of a wrong type", post("/v1/embeddings", r#"{"model":"local/all-MiniLM-L6-v2","input":{"a":1}}"#)),
        ("embeddings without an encoder", post("/v1/embeddings", r#"{"model":"local/all-MiniLM-L6-v2","input":"q"}"#)),
        ("embeddings of an unknown model", post("/v1/embeddings", r#"{"model":"auto","input":"q"}"#)),
    ];
    let mut all = String::new();
    for (name, request) in cases {
        all.push_str(&shown(name, &house.send(request).await));
    }
    assert!(house.upstream.asked().is_empty(), "nothing of this may reach a provider");
    insta::assert_snapshot!(all);
}

/// The same header value as Latin-1 bytes, which are no UTF-8.
trait TapBytes {
    fn tap_bytes(self) -> Self;
}

impl TapBytes for Request<Body> {
    fn tap_bytes(mut self) -> Self {
        let value = axum::http::HeaderValue::from_bytes(b"caf\xe9").expect("a value");
        self.headers_mut().insert("x-pointsman-tags", value);
        self
    }
}

#[tokio::test]
async fn what_providers_answer() {
    let mut all = String::new();
    for (name, status, headers, body) in [
        ("429", 429, vec![("retry-after", "3".to_owned())], r#"{"error":{"message":"slow down"}}"#),
        ("500", 500, vec![], r#"{"error":{"message":"broken"}}"#),
        ("529", 529, vec![], r#"{"error":{"message":"overloaded"}}"#),
        (
            "400",
            400,
            vec![],
            r#"{"error":{"message":"bad temperature","type":"invalid_request_error","param":"temperature"}}"#,
        ),
        ("too long", 400, vec![], r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#),
        ("401", 401, vec![], r#"{"error":{"message":"bad key sk-abc"}}"#),
        ("not its protocol", 200, vec![], r#"{"hello":1}"#),
        ("not JSON", 200, vec![], "<html>"),
    ] {
        let house = House::new(Act::Json(status, headers, body.to_owned())).await;
        let reply = house.chat(ask("a", "q")).await;
        all.push_str(&shown(name, &reply));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let admission = admission::Config { max_body_bytes: 1_000, ..admission::Config::default() };
    let house = House::with(whole("hi"), Plans { admission, ..Plans::default() }).await;
    let fits = house.chat(ask("a", &"x".repeat(900))).await;
    assert_eq!(fits.status, 200);
    let reply = house.chat(ask("a", &"x".repeat(1_000))).await;
    insta::assert_snapshot!(shown("too large", &reply));
}

#[tokio::test]
async fn fifty_megabytes_over_tcp_are_refused_in_words() {
    let house = House::new(whole("hi")).await;
    let (address, stop, ended) = house.listen(std::time::Duration::from_secs(5)).await;
    let request = reqwest::Client::new().post(format!("http://{address}/v1/chat/completions"));
    let reply = request.header("content-type", "application/json").body(vec![b' '; 50_000_000]).send().await;
    let reply = reply.expect("a reply, not a broken connection");
    assert_eq!(reply.status().as_u16(), 413);
    let body: serde_json::Value = serde_json::from_slice(&reply.bytes().await.expect("a body")).expect("JSON");
    assert_eq!(body["error"]["code"], "too_large");
    drop(stop);
    ended.await;
}

#[tokio::test]
async fn keys() {
    let hash = super::house::sha256;
    let key = |tenant: &str, models: Option<&str>| admission::Key {
        tenant: tenant.into(),
        sha256: hash(tenant),
        preset: None,
        models: models.map(|model| [model.into()].into()),
    };
    let admission =
        admission::Config { keys: vec![key("red", None), key("blue", Some("a"))], ..admission::Config::default() };
    let house = House::with(whole("hi"), Plans { admission, ..Plans::default() }).await;
    let with = |key: &str, model: &str| {
        let mut request = post("/v1/chat/completions", ask(model, "q"));
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("a value"));
        request
    };
    let mut all = shown("no key", &house.chat(ask("auto", "q")).await);
    all.push_str(&shown("an unknown key", &house.send(with("green", "auto")).await));
    all.push_str(&shown("a model that is not his", &house.send(with("blue", "b")).await));
    all.push_str(&shown("a deployment that is not his", &house.send(with("blue", "b@here")).await));
    insta::assert_snapshot!(all);
    assert_eq!(house.send(with("red", "b")).await.status, 200);
    for _ in 0..20 {
        assert_eq!(house.send(with("blue", "auto")).await.header("x-pointsman-model"), Some("a"));
    }
}
