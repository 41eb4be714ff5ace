//! Conversations over HTTP before providers with prompt caches: what routing costs beside the best fixed deployment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Json, Router};
use parking_lot::Mutex;
use pointsman::admission::{self, Key};
use pointsman::base::{Clock, ManualClock, Timestamp};
use pointsman::catalog::{Catalog, Price};
use pointsman::gateway::{self, Live};
use pointsman::ledger::{Decided, Mode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::house::{House, Plans, post, sha256};
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

/// A house before such providers, which live as long as the last value.
async fn before_caches(lifetime: Duration, keys: Vec<Key>) -> (House, Providers, Arc<ManualClock>, JoinSet<()>) {
    let clock = Arc::new(ManualClock::default());
    let providers = Arc::new(Mutex::new(Caching { clock: Arc::clone(&clock), used: HashMap::new(), bill: 0.0 }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let routes = Router::new()
        .route("/{name}/v1/chat/completions", axum::routing::post(answer))
        .with_state(Arc::clone(&providers));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await.expect("serves") });
    let gateway = gateway::Config { prompt_cache_lifetime: lifetime, ..gateway::Config::default() };
    let admission = admission::Config { keys, ..admission::Config::default() };
    let plans = Plans { admission, gateway, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Plans::default() };
    let house = House::with(Act::Hang, plans).await;
    house.gateway.swap(|live| {
        let Catalog { mut deployments, aliases, baseline, .. } = live.catalog.as_ref().clone();
        for deployment in &mut deployments {
            deployment.base_url = format!("http://{address}/{}/v1", deployment.model);
            deployment.price = Some(PRICE);
        }
        Live { catalog: Arc::new(Catalog::new(deployments, aliases, baseline)), ..live.clone() }
    });
    (house, providers, clock, server)
}

/// What the same conversations cost when `model` is asked for, and what was decided.
async fn bill(model: &str, lifetime: Duration) -> (f64, Vec<Decided>) {
    let (house, providers, clock, _server) = before_caches(lifetime, Vec::new()).await;
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

#[tokio::test]
async fn a_first_turn_is_warm_where_another_conversation_of_the_tenant_has_just_opened_alike() {
    let key = |tenant: &str| Key { tenant: tenant.into(), sha256: sha256(tenant), preset: None, models: None };
    let lifetime = gateway::Config::default().prompt_cache_lifetime;
    let (house, _, clock, _server) = before_caches(lifetime, vec![key("red"), key("blue")]).await;
    let rules = "Mind the house rules. ".repeat(400);
    let asks = async |tenant: &str, model: &str, system: &str, question: &str| {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": question}]);
        let body = json!({"model": model, "max_tokens": 50, "messages": messages});
        let mut request = post("/v1/chat/completions", body.to_string());
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a header"));
        assert!(house.send(request).await.status.is_success());
        house.decided().await.pop().expect("it was decided")
    };
    let read = |event: &Decided| {
        let mut read = [0.0; 2];
        event.arms.iter().for_each(|arm| read[usize::from(arm.model.as_str() == "b")] = arm.prompt_cache.read);
        read
    };
    let first = asks("red", "a", &rules, "What may guests do?").await;
    assert_eq!(read(&first), [0.0, 0.0]);

    let second = asks("red", "auto", &rules, "When is the door locked?").await;
    let [a, b] = read(&second);
    assert!(a > 1_000.0 && b == 0.0, "{a} {b}");
    let [at_a, at_b] = [0, 1].map(|arm| second.arms[arm].prediction.cost.expect("priced").mean);
    assert!(at_a < at_b, "{at_a} {at_b}");
    assert_eq!(second.mode, Mode::Policy, "what many conversations share holds none of them");

    let other = asks("red", "auto", &format!("{rules} And knock."), "When is the door locked?").await;
    assert_eq!(read(&other), [0.0, 0.0], "it opens otherwise");
    let stranger = asks("blue", "auto", &rules, "When is the door locked?").await;
    assert_eq!(read(&stranger), [0.0, 0.0], "a tenant's openings are its own");
    clock.advance(lifetime);
    let late = asks("red", "auto", &rules, "Is there a lift?").await;
    assert_eq!(read(&late), [0.0, 0.0], "the providers have forgotten it by now");
}
