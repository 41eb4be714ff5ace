//! `/v1/embeddings`: the local encoder, and upstream.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use pointsman::base::DeploymentId;
use pointsman::embed::{DIMENSIONS, Embedder, Embedding, Origin, Pending, Status};
use pointsman::ledger::Event;
use serde_json::{Value, json};

use super::house::{House, Plans};
use super::upstream::{Act, whole};

/// An encoder whose vectors say how long the text was.
struct Lengths;

impl Embedder for Lengths {
    fn embed<'a>(&'a self, text: &'a str, _: Duration) -> Pending<'a, Option<Embedding>> {
        let mut vector = vec![0.0; DIMENSIONS];
        vector[text.len() % DIMENSIONS] = 1.0;
        Box::pin(std::future::ready(Some(Embedding { vector: vector.into(), origin: Origin::Encoder })))
    }

    fn id(&self) -> &'static str {
        "lengths"
    }

    fn status(&self) -> Status {
        Status::Ready
    }

    fn settled(&self) -> Pending<'_, Status> {
        Box::pin(std::future::ready(Status::Ready))
    }
}

async fn house() -> House {
    House::with(whole("hi"), Plans { embedder: Arc::new(Lengths), ..Plans::default() }).await
}

async fn embed(house: &House, input: Value, format: &str) -> Value {
    let body = json!({"model": "local/all-MiniLM-L6-v2", "input": input, "encoding_format": format});
    let reply = house.post("/v1/embeddings", body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Which place of each vector is 1.
fn places(reply: &Value) -> Vec<usize> {
    let place = |vector: &Value| vector.as_array().and_then(|all| all.iter().position(|number| number == 1.0));
    reply["data"].as_array().expect("data").iter().filter_map(|one| place(&one["embedding"])).collect()
}

#[tokio::test]
async fn texts_and_tokens_are_embedded_in_order() {
    let house = house().await;
    assert_eq!(places(&embed(&house, json!("four"), "float").await), [4]);
    let list = embed(&house, json!(["a", "bb", "ccc"]), "float").await;
    assert_eq!(places(&list), [1, 2, 3]);
    assert_eq!((&list["object"], &list["data"][2]["index"]), (&json!("list"), &json!(2)));
    // "hello world" in cl100k_base.
    assert_eq!(places(&embed(&house, json!([15339, 1917]), "float").await), [11]);
    assert_eq!(places(&embed(&house, json!([[15339], [15339, 1917]]), "float").await), [5, 11]);
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let reply = embed(&house().await, json!("four"), "base64").await;
    let text = reply["data"][0]["embedding"].as_str().expect("a text");
    let bytes = base64::prelude::BASE64_STANDARD.decode(text).expect("base64");
    let numbers: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect();
    assert_eq!((numbers.len(), numbers.iter().position(|number| *number == 1.0)), (DIMENSIONS, Some(4)));
}

#[tokio::test]
async fn tokens_that_are_no_text_are_refused() {
    let house = house().await;
    for input in [json!([4_000_000_000_u32]), json!([[100_300]])] {
        let body = json!({"model": "local/all-MiniLM-L6-v2", "input": input}).to_string();
        assert_eq!(house.post("/v1/embeddings", body).await.status, 400);
    }
}

#[tokio::test]
async fn another_model_goes_upstream_as_it_came() {
    let house = house().await;
    let answer = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.50]}],"novel":1}"#;
    house.upstream.usually(Act::Json(200, vec![], answer.to_owned()));
    let reply = house.post("/v1/embeddings", r#"{ "input":"x", "model":"b", "novel":1e2 }"#).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, answer));
    let asked = house.upstream.asked().remove(0);
    assert_eq!(asked.path, "/v1/embeddings");
    assert_eq!(&asked.body[..], br#"{ "input":"x", "model":"up-b", "novel":1e2 }"#);
    let events = house.events().await;
    let [Event::Completed(end)] = &events[..] else { panic!("one end and no decision: {events:?}") };
    assert_eq!((end.served.as_ref().map(DeploymentId::as_str), end.cost_usd.is_some()), (Some("b@here"), true));
    house.upstream.usually(Act::Json(429, vec![("retry-after", "9".into())], r#"{"error":{"message":"slow"}}"#.into()));
    let refused = house.post("/v1/embeddings", r#"{"input":"x","model":"b@here"}"#).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("9")));
}
