//! Conversations over HTTP before providers with prompt caches: what routing costs beside the best fixed deployment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use pointsman::base::{Clock, ManualClock, Timestamp};
use pointsman::catalog::{Catalog, Price};
use pointsman::gateway::{self, Live};
use pointsman::ledger::{Decided, Mode};
use serde_json::{Value, json};

use super::house::{House, Plans};
use super::upstream::Act;

/// A conversation's beginning stays in a provider's cache for so long after its last use.
const LIFETIME: Duration = Duration::from_mins(5);

/// Providers by name, each with a cache of its own, on a clock that the test moves; and the bill.
struct Caching {
    clock: Arc<ManualClock>,
    /// By provider and beginning of a conversation, when it was last used.
    used: HashMap<(String, String), Timestamp>,
    bill: f64,
}

type Providers = Arc<Mutex<Caching>>;

const PRICE: Price =
    Price { input: 3.0, output: 15.0, cached_input: Some(0.3), cache_write: Some(3.75), reasoning: None };

/// A token is four characters.
fn tokens(text: &str) -> u64 {
    text.len() as u64 / 4
}

async fn answer(State(providers): State<Providers>, Path(name): Path<String>, Json(body): Json<Value>) -> Json<Value> {
    let mut caching = providers.lock();
    let now = caching.clock.now();
    let (mut beginning, mut prompt, mut cached) = (String::new(), 0, 0);
    for message in body["messages"].as_array().expect("messages") {
        beginning += message["content"].as_str().expect("text");
        prompt = tokens(&beginning);
        let key = (name.clone(), beginning.clone());
        if caching.used.insert(key, now).is_some_and(|last| now.since(last) < LIFETIME) {
            cached = prompt;
        }
    }
    let written = prompt - cached;
    caching.bill += (cached as f64 * 0.3 + written as f64 * 3.75 + 20.0 * 15.0) / 1e6;
    Json(json!({"id": "up", "object": "chat.completion", "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sure."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written}}}))
}

const CONVERSATIONS: usize = 24;
const TURNS: usize = 8;

/// What the same conversations cost when `model` is asked for, and what was decided.
async fn bill(model: &str, lifetime: Duration) -> (f64, Vec<Decided>) {
    let clock = Arc::new(ManualClock::default());
    let providers = Arc::new(Mutex::new(Caching { clock: Arc::clone(&clock), used: HashMap::new(), bill: 0.0 }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let routes = Router::new().route("/{name}/v1/chat/completions", post(answer)).with_state(Arc::clone(&providers));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await });
    let gateway = gateway::Config { prompt_cache_lifetime: lifetime, ..gateway::Config::default() };
    let plans = Plans { gateway, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Plans::default() };
    let house = House::with(Act::Hang, plans).await;
    house.gateway.swap(|live| {
        let Catalog { mut deployments, aliases, baseline, .. } = live.catalog.as_ref().clone();
        for deployment in &mut deployments {
            deployment.base_url = format!("http://{address}/{}/v1", deployment.model);
            deployment.price = Some(PRICE);
        }
        Live { catalog: Arc::new(Catalog::new(deployments, aliases, baseline)), ..live.clone() }
    });
    let opening = |n: usize| format!("You are helper number {n}. {}", "Mind the house rules. ".repeat(400));
    let mut talks: Vec<Vec<Value>> =
        (0..CONVERSATIONS).map(|n| vec![json!({"role": "system", "content": opening(n)})]).collect();
    for turn in 0..TURNS {
        // Once, all go for lunch, and the caches run out.
        clock.advance(Duration::from_mins(if turn == 4 { 60 } else { 1 }));
        for (n, talk) in talks.iter_mut().enumerate() {
            talk.push(json!({"role": "user", "content": format!("Tell me more about topic {n}.")}));
            let reply = house.chat(json!({"model": model, "max_tokens": 50, "messages": talk}).to_string()).await;
            assert!(reply.status.is_success(), "{reply:?}");
            talk.push(json!({"role": "assistant", "content": "Sure."}));
            house.gateway.drained().await;
        }
    }
    let decided = house.decided().await;
    let bill = providers.lock().bill;
    (bill, decided)
}

#[tokio::test]
async fn routed_conversations_cost_no_more_than_the_best_fixed_deployment_with_its_cache() {
    let usual = gateway::Config::default().prompt_cache_lifetime;
    let fixed = bill("a", usual).await.0.min(bill("b", usual).await.0);
    let (routed, decided) = bill("auto", usual).await;
    let (blind, _) = bill("auto", Duration::ZERO).await;
    assert!(routed <= fixed * 1.0001, "routed {routed:.4}, fixed {fixed:.4}, blind {blind:.4}");
    assert!(blind > fixed * 1.3, "without it the caches are thrown away: {blind:.4} beside {fixed:.4}");
    let held: Vec<&Decided> = decided.iter().filter(|event| event.mode == Mode::Held).collect();
    assert_eq!(held.len(), CONVERSATIONS * (TURNS - 2), "every turn but the first, and the one after lunch");
    for event in held {
        let arm = &event.arms[event.chosen];
        assert_eq!(arm.propensity, 1.0);
        assert!(arm.prompt_cache.read > 1_000.0, "{:?}", arm.prompt_cache);
        let [one, other] = [0, 1].map(|arm| event.arms[arm].prediction.cost.expect("priced").mean);
        let (own, moved) = if event.chosen == 0 { (one, other) } else { (other, one) };
        assert!(own < moved, "moving costs: {own} {moved}");
    }
    let both = decided.iter().filter(|event| event.mode == Mode::Policy).map(|event| event.chosen);
    assert_eq!(both.collect::<std::collections::BTreeSet<_>>().len(), 2, "first turns are still the policy's");
}
