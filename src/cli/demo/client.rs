//! The user of the demonstration: asks, reads the answer, and now and then says how good it was.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::base::{Clock, SystemClock};
use crate::chat::Usage;
use crate::simulate::{self, Prompt};

/// Share of the answers that are graded. Most real users grade far fewer; a demonstration has to be short.
const GRADED: f64 = 0.7;
/// Share of the requests that are streamed.
const STREAMED: f64 = 0.25;

/// A client of the endpoint.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    seed: u64,
    clock: SystemClock,
}

/// What came of one request.
#[derive(Debug)]
pub(super) struct Turn {
    /// Which one, in the order of sending.
    pub(super) index: usize,
    /// The answer, or what went wrong.
    pub(super) answer: Result<Answer, String>,
    /// Whether its grade was told.
    pub(super) graded: bool,
}

/// What the caller can see of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Who gave it.
    pub(super) deployment: String,
    /// What the simulation says it was worth.
    pub(super) score: f64,
    /// Its tokens.
    pub(super) usage: Usage,
    /// Pointsman's own time, milliseconds.
    pub(super) overhead_ms: f64,
    /// From asking to the last byte.
    pub(super) took: Duration,
}

impl Client {
    pub(super) fn new(address: SocketAddr, seed: u64) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).timeout(Duration::from_mins(1)).build()?;
        Ok(Self { http, base: format!("http://{address}/v1"), seed, clock: SystemClock::new() })
    }

    /// Asks, and grades.
    pub(super) async fn turn(&self, index: usize, prompt: &Prompt) -> Turn {
        let chance = |purpose: &str| simulate::chance(self.seed, &[purpose, &index.to_string()]);
        let asked = self.ask(prompt, chance("stream") < STREAMED).await;
        let mut graded = false;
        let answer = match asked {
            Ok((decision, answer)) if chance("grade") < GRADED => {
                graded = true;
                self.grade(&decision, answer.score).await.map(|()| answer)
            }
            asked => asked.map(|(_, answer)| answer),
        };
        Turn { index, answer, graded }
    }

    async fn ask(&self, prompt: &Prompt, stream: bool) -> Result<(String, Answer), String> {
        let mut body = json!({ "model": "auto", "messages": [{ "role": "user", "content": prompt.prompt }] });
        if stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({ "include_usage": true });
        }
        let start = self.clock.monotonic();
        let response = self.post("/chat/completions", &body).await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let missing = |name: &str| format!("the response has no {name}");
        let decision = header("x-pointsman-decision").ok_or_else(|| missing("x-pointsman-decision"))?;
        let deployment = header("x-pointsman-deployment").ok_or_else(|| missing("x-pointsman-deployment"))?;
        let overhead = header("x-pointsman-overhead-ms").and_then(|value| value.parse().ok());
        let overhead_ms = overhead.ok_or_else(|| missing("x-pointsman-overhead-ms"))?;
        let text = response.text().await.map_err(|error| error.to_string())?;
        let took = self.clock.monotonic().saturating_sub(start);
        // A stream says its grade and its usage in chunks of their own, a whole answer in one.
        let parts: Vec<Value> = if stream {
            let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
            frames.filter_map(|frame| serde_json::from_str(frame).ok()).collect()
        } else {
            serde_json::from_str(&text).into_iter().collect()
        };
        let find = |pointer: &str| parts.iter().rev().find_map(|part| part.pointer(pointer));
        let score = find("/simulated/score").and_then(Value::as_f64).ok_or_else(|| missing("simulated.score"))?;
        let count = |name: &str| find(&format!("/usage/{name}")).and_then(Value::as_u64);
        let usage = Usage {
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
            ..Usage::default()
        };
        Ok((decision, Answer { deployment, score, usage, overhead_ms, took }))
    }

    async fn grade(&self, decision: &str, score: f64) -> Result<(), String> {
        self.post("/feedback", &json!({ "decision_id": decision, "score": score })).await.map(drop)
    }

    async fn post(&self, route: &str, body: &Value) -> Result<Response, String> {
        let sent = self.http.post(format!("{}{route}", self.base)).json(body).send().await;
        let response = sent.map_err(|error| error.to_string())?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(format!("{route}: status {status}: {}", response.text().await.unwrap_or_default()))
    }
}
