//! The simulated providers, seen by a client.

use std::sync::Arc;

use futures::StreamExt as _;
use pointsman::simulate::{self, Outcome, Recorded, Truth, World};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PROMPT: &str = "Write a function that reverses a list.";

fn request(stream: bool) -> Value {
    json!({
        "model": "sim/forge",
        "messages": [{ "role": "user", "content": PROMPT }],
        "stream": stream,
        "stream_options": { "include_usage": true },
    })
}

#[tokio::test]
async fn an_answer_says_it_is_simulated_and_agrees_with_the_truth_streamed_or_not() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let world = Arc::new(World::new(3));
    let served = simulate::serve(world.clone(), 3, &tasks, &stop).await.expect("ports are to be had");
    let forge = served.iter().find(|served| served.provider.name == "forge").expect("it is up");
    let Outcome { score, completion_tokens, .. } = world.outcome("sim/forge", PROMPT).expect("it knows the model");
    let url = format!("{}/chat/completions", forge.base_url);
    let client = reqwest::Client::new();

    let whole: Value = client.post(&url).json(&request(false)).send().await.unwrap().json().await.unwrap();
    assert!(whole["choices"][0]["message"]["content"].as_str().unwrap().contains("Simulated answer of sim/forge"));
    assert_eq!(whole["simulated"]["score"], json!(score));
    assert_eq!(whole["usage"]["prompt_tokens"], json!(simulate::tokens(PROMPT)));
    assert_eq!(whole["usage"]["completion_tokens"], json!(completion_tokens));

    let stream = client.post(&url).json(&request(true)).send().await.unwrap().text().await.unwrap();
    let mut frames: Vec<&str> = stream.split_terminator("\n\n").map(|frame| &frame["data: ".len()..]).collect();
    assert_eq!(frames.pop(), Some("[DONE]"));
    let chunks: Vec<Value> = frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
    assert!(chunks.iter().any(|chunk| chunk["simulated"]["score"] == json!(score)));

    let models: Value = client.get(format!("{}/models", forge.base_url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "sim/forge");

    stop.cancel();
    tasks.close();
    drop(client);
    tasks.wait().await;
}

#[tokio::test]
async fn the_shaky_one_fails_now_and_then_with_an_error_in_openai_form() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let served = simulate::serve(Arc::new(World::new(3)), 3, &tasks, &stop).await.expect("ports are to be had");
    let quill = served.iter().find(|served| served.provider.name == "quill").expect("it is up");
    let body = json!({ "model": "sim/quill", "messages": [{ "role": "user", "content": "hi" }] });
    let client = reqwest::Client::new();
    let calls = (0..1200).map(|_| async {
        let answer = client.post(format!("{}/chat/completions", quill.base_url)).json(&body).send().await.unwrap();
        let (status, waits) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status == 200, body.get("error").is_none(), "{body}");
        (status, waits)
    });
    let mut answers: Vec<_> = futures::stream::iter(calls).buffer_unordered(64).collect().await;
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers, [(200, false), (429, true), (500, false)], "of 1200 calls");
    stop.cancel();
}

#[tokio::test]
async fn a_recording_is_repeated_and_what_was_not_recorded_is_not_invented() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let price = World::new(0).providers()[0].price.clone();
    let mut recorded = Recorded::new([("lab/one".to_owned(), price)]);
    recorded.record("lab/one", "2 + 2?", 0.25, Some(0.002));
    let served = simulate::serve(Arc::new(recorded), 0, &tasks, &stop).await.expect("ports are to be had");
    let client = reqwest::Client::new();
    let ask = async |prompt: &str| {
        let body = json!({ "model": "lab/one", "messages": [{ "role": "user", "content": prompt }] });
        let url = format!("{}/chat/completions", served[0].base_url);
        client.post(url).json(&body).send().await.unwrap()
    };
    let answer: Value = ask("2 + 2?").await.json().await.unwrap();
    assert_eq!((&answer["simulated"]["score"], &answer["usage"]["cost"]), (&json!(0.25), &json!(0.002)));
    assert_eq!(ask("2 + 3?").await.status(), 404);
    stop.cancel();
}
