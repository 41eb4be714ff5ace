//! Money that is limited, over HTTP: what passes, what is refused, what is left, and that a restart knows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures::StreamExt as _;
use pointsman::admission::{self, Key};
use pointsman::base::{DeploymentId, Timestamp};
use pointsman::catalog::Price;
use pointsman::gateway::budgets::{Config, Line};
use pointsman::gateway::{Budgets, Live};
use pointsman::ledger::{Decided, Outcome};
use pointsman::policy::{self, Ask, Candidate, Exclusion, Policy as _};
use serde_json::{Value, json};

use super::house::{House, Plans, ask, post, sha256};
use super::upstream::Act;

/// Every token of an answer costs a cent, and twice that at `b`.
fn cents(deployments: &mut [pointsman::catalog::Deployment]) {
    for (deployment, cents) in deployments.iter_mut().zip([1.0, 2.0]) {
        let price = |output| Price { input: 0.0, output, cached_input: None, cache_write: None, reasoning: None };
        deployment.price = Some(price(cents * 1e4));
    }
}

/// An answer of so many tokens.
fn answer(tokens: u64) -> Act {
    let body = json!({"id": "up", "object": "chat.completion", "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}});
    Act::Json(200, Vec::new(), body.to_string())
}

/// A request whose answer has ten tokens at most.
fn ten(model: &str, n: usize) -> String {
    json!({"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": format!("Question {n}")}]})
        .to_string()
}

fn configs(budgets: &[(&str, Value)]) -> BTreeMap<String, Config> {
    let config =
        |(name, value): &(&str, Value)| ((*name).to_owned(), serde_json::from_value(value.clone()).expect("a budget"));
    budgets.iter().map(config).collect()
}

impl House {
    fn now(&self) -> Timestamp {
        self.gateway.clock().now()
    }

    fn with_budgets(self, budgets: &[(&str, Value)]) -> Self {
        let budgets = Arc::new(Budgets::new(&configs(budgets), self.now()));
        self.gateway.swap(|live| Live { budgets: Arc::clone(&budgets), ..live.clone() });
        self
    }

    fn budget(&self, name: &str) -> Line {
        let lines = self.gateway.live().budgets.lines(self.now());
        lines.into_iter().find(|line| line.name == name).expect("it is there")
    }
}

async fn priced(budgets: &[(&str, Value)]) -> House {
    House::with(answer(10), Plans { change: |all| cents(all), ..Plans::default() }).await.with_budgets(budgets)
}

#[tokio::test]
async fn of_two_hundred_at_once_as_many_pass_as_there_is_money_for() {
    let house = priced(&[("all", json!({"amount": "5.5 USD/month", "credit": "0.55 USD"}))]).await;
    let asked = (0..200).map(|n| house.chat(ten("a", n)));
    let replies: Vec<_> = futures::stream::iter(asked).buffer_unordered(200).collect().await;
    let served = replies.iter().filter(|reply| reply.status == StatusCode::OK).count();
    assert_eq!(served, 5);
    let refused = replies.iter().find(|reply| reply.status != StatusCode::OK).expect("most");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.header("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((17_000..27_000).contains(&wait), "five cents come in some six hours: {wait}");
    let error = &refused.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("insufficient_quota"), &json!("insufficient_quota")));
    let message = error["message"].as_str().expect("words");
    assert!(message.contains("`all`") && message.contains("5.5 USD/month") && message.contains("$0.10"), "{message}");
    house.gateway.drained().await;
    let line = house.budget("all");
    assert_eq!(line.held.get(), 0.0);
    assert!((line.spent.get() - 0.5).abs() < 1e-9, "{line:?}");
}

#[tokio::test]
async fn spending_stays_within_the_rate_and_the_credit_whatever_comes_in_whatever_order() {
    let house = priced(&[("all", json!({"amount": "36 USD/hour", "credit": "5 USD"}))]).await;
    let begun = house.now();
    // The dearest answers come first: as dear as they are allowed to be.
    for n in 0..400 {
        house.upstream.next(answer(40 - n / 10));
    }
    let asked = (0..400).map(|n| {
        let body = json!({"model": "auto", "max_tokens": 40,
            "messages": [{"role": "user", "content": format!("Question {n}")}]});
        house.chat(body.to_string())
    });
    let replies: Vec<_> = futures::stream::iter(asked).buffer_unordered(32).collect().await;
    let served = replies.iter().filter(|reply| reply.status == StatusCode::OK).count();
    let refused = replies.iter().filter(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!(served + refused, 400);
    assert!(served > 5, "{served}");
    house.gateway.drained().await;
    let spent: f64 = house.completed().await.iter().filter_map(|end| Some(end.cost_usd?.get())).sum();
    let came = house.now().since(begun).as_secs_f64() * 31.0 / 3600.0;
    // Of the dearest six may be on their way at once; if all others are refused before the first of them is settled, and
    // all six are cheap, that is all.
    assert!(spent > 2.3 && spent <= 5.0 + came + 1e-9, "{spent} of {}", 5.0 + came);
}

#[tokio::test]
async fn what_is_too_dear_for_the_purse_gives_way_to_what_is_not() {
    let house = priced(&[("all", json!({"amount": "1.5 USD/month", "credit": "0.15 USD"}))]).await;
    let reply = house.chat(ten("both", 0)).await;
    assert_eq!((reply.status, reply.header("x-pointsman-model")), (StatusCode::OK, Some("a")));
    let refused = house.chat(ten("b", 1)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
    assert!(message.contains("more than may be spent at once"), "{message}");
    assert_eq!(refused.header("retry-after"), None, "no time helps");
    let decided = house.decided().await;
    assert_eq!(decided[0].excluded.get(&DeploymentId::from("b@here")), Some(&Exclusion::OverBudget));
    let [record] = &decided[0].budgets[..] else { panic!("{:?}", decided[0].budgets) };
    assert_eq!((record.name.as_str(), record.hold.get()), ("all", 0.1));
}

#[tokio::test]
async fn several_choices_are_each_paid_for() {
    let house = priced(&[("all", json!({"amount": "4.5 USD/month", "credit": "0.45 USD"}))]).await;
    let asks = async |choices: u32| {
        let mut body: Value = serde_json::from_str(&ten("a", 0)).expect("JSON");
        body["n"] = choices.into();
        let reply = house.chat(body.to_string()).await;
        house.gateway.drained().await;
        reply
    };
    house.upstream.next(answer(30));
    assert_eq!(asks(3).await.status, StatusCode::OK);
    assert_eq!(asks(1).await.status, StatusCode::OK);
    let refused = asks(2).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("may cost $0.20"), "{}", refused.text());
    let decided = house.decided().await;
    let holds: Vec<f64> = decided.iter().map(|event| event.budgets[0].hold.get()).collect();
    assert!((holds[0] - 0.3).abs() < 1e-9 && (holds[1] - 0.1).abs() < 1e-9, "three times the output: {holds:?}");
    let predicted: Vec<f64> = decided.iter().map(|event| event.arms[0].prediction.cost.expect("priced").mean).collect();
    assert!((predicted[0] - 3.0 * predicted[1]).abs() < 1e-9, "{predicted:?}");
    assert!((house.budget("all").spent.get() - 0.4).abs() < 1e-9);
}

#[tokio::test]
async fn an_unknown_price_is_no_way_around_a_budget() {
    let change = |deployments: &mut Vec<pointsman::catalog::Deployment>| {
        cents(deployments);
        deployments[0].price = None;
    };
    let house = House::with(answer(10), Plans { change, ..Plans::default() })
        .await
        .with_budgets(&[("all", json!({"amount": "500 USD/month"}))]);
    let reply = house.chat(ten("auto", 0)).await;
    assert_eq!(reply.header("x-pointsman-model"), Some("b"));
    assert_eq!(house.decided().await[0].excluded.get(&DeploymentId::from("a@here")), Some(&Exclusion::UnknownPrice));
    let refused = house.chat(ten("a", 1)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text().contains("its price is unknown and a cost limit or a budget is set"), "{}", refused.text());
}

#[tokio::test]
async fn a_storm_of_hang_ups_leaves_nothing_held_back() {
    let house = priced(&[("all", json!({"amount": "500 USD/month"}))]).await;
    house.upstream.usually(Act::Hang);
    let mut storm: Vec<_> = (0..20).map(|n| Box::pin(house.chat(ten("a", n)))).collect();
    let waiting = futures::future::select_all(storm.iter_mut());
    tokio::select! {
        _ = waiting => panic!("nobody answers"),
        () = house.upstream.was_asked(20) => {}
    }
    assert!((house.budget("all").held.get() - 2.0).abs() < 1e-9);
    drop(storm);
    house.gateway.drained().await;
    let line = house.budget("all");
    assert_eq!(line.held.get(), 0.0);
    assert!((line.spent.get() - 2.0).abs() < 1e-9, "what nobody knows the cost of counts as what was held: {line:?}");
}

#[tokio::test]
async fn a_tenants_budget_is_its_own_and_everybodys_is_everybodys() {
    let key = |tenant: &str| Key { tenant: tenant.into(), sha256: sha256(tenant), preset: None, models: None };
    let admission = admission::Config { keys: vec![key("red"), key("blue")], ..admission::Config::default() };
    let house = House::with(answer(10), Plans { admission, change: |all| cents(all), ..Plans::default() })
        .await
        .with_budgets(&[
            ("all", json!({"amount": "3.5 USD/month", "credit": "0.35 USD"})),
            ("red", json!({"amount": "1.5 USD/month", "credit": "0.15 USD", "tenant": "red"})),
        ]);
    let asks = async |tenant: &str, n: usize| {
        let mut request = post("/v1/chat/completions", Body::from(ten("a", n)));
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a header"));
        house.send(request).await
    };
    assert_eq!(asks("red", 0).await.status, StatusCode::OK);
    let refused = asks("red", 1).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("`red`"), "{}", refused.text());
    assert_eq!(asks("blue", 2).await.status, StatusCode::OK);
    assert_eq!(asks("blue", 3).await.status, StatusCode::OK);
    house.gateway.drained().await;
    let refused = asks("blue", 4).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("`all`") && !refused.text().contains("red"), "{}", refused.text());
}

#[tokio::test]
async fn a_restart_knows_what_was_spent_and_what_never_ended() {
    let budgets = [
        ("day", json!({"amount": "200 USD/day", "credit": "20 USD"})),
        ("each", json!({"amount": "0.07 USD/request"})),
    ];
    let house = priced(&budgets).await;
    let asked = (0..60).map(|n| {
        house.upstream.next(answer(1 + n as u64 % 10));
        house.chat(ten("auto", n))
    });
    let replies: Vec<_> = futures::stream::iter(asked).buffer_unordered(8).collect().await;
    assert!(replies.iter().all(|reply| reply.status == StatusCode::OK));
    house.gateway.drained().await;
    let again = || Budgets::recover(&configs(&budgets), house.ledger.as_ref(), house.now()).expect("readable");
    let alike = |live: &[Line], again: &[Line], lost: f64| {
        for (live, again) in live.iter().zip(again) {
            let near = |a: f64, b: f64| (a - b).abs() < 0.01;
            assert!(near(live.left.get(), again.left.get()), "{live:?} {again:?}");
            assert!((live.spent.get() + lost - again.spent.get()).abs() < 1e-9, "{live:?} {again:?}");
            assert_eq!(again.held.get(), 0.0);
        }
    };
    let live = house.gateway.live().budgets.lines(house.now());
    alike(&live, &again().lines(house.now()), 0.0);
    assert!((again().lines(house.now())[0].price - live[0].price).abs() < 1e-6, "the price of money goes on, too");

    // One that is on its way when the process dies.
    house.upstream.usually(Act::Hang);
    let count = house.upstream.asked().len();
    let mut lost = Box::pin(house.chat(ten("a", 99)));
    tokio::select! {
        _ = &mut lost => panic!("nobody answers"),
        () = house.upstream.was_asked(count + 1) => {}
    }
    let live = house.gateway.live().budgets.lines(house.now());
    assert!((live[0].held.get() - 0.1).abs() < 1e-9);
    alike(&live, &again().lines(house.now()), 0.1);
}

#[tokio::test]
async fn a_share_that_is_spent_is_told_once_and_the_metrics_say_what_is_left() {
    let name = "told_once";
    let budget = json!({"amount": "1 USD/week", "credit": "0.5 USD", "alerts": [0.1, 0.25, 0.9]});
    let house = priced(&[(name, budget)]).await;
    for n in 0..4 {
        assert_eq!(house.chat(ten("a", n)).await.status, StatusCode::OK);
        house.gateway.drained().await;
    }
    let text = house.get("/metrics").await.text().to_owned();
    let line = |percent: &str| format!("pointsman_budget_alerts_total{{budget=\"{name}\",percent=\"{percent}\"}} 1");
    assert!(text.contains(&line("10")) && text.contains(&line("25")), "{text}");
    assert!(!text.contains(&format!("budget=\"{name}\",percent=\"90\"")));
    let left =
        text.lines().find(|line| line.starts_with(&format!("pointsman_budget_remaining_usd{{budget=\"{name}\"")));
    let left: f64 = left.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a number");
    assert!((0.1..0.101).contains(&left), "{left}");
}

/// A house where a token that goes in costs a cent, and nothing else does.
async fn priced_by_input(admission: admission::Config, budgets: &[(&str, Value)]) -> House {
    let change = |deployments: &mut Vec<pointsman::catalog::Deployment>| {
        for deployment in deployments {
            let price = Price { input: 1e4, output: 0.0, cached_input: None, cache_write: None, reasoning: None };
            deployment.price = Some(price);
        }
    };
    let house = House::with(vectors(Some(4)), Plans { admission, change, ..Plans::default() }).await;
    house.with_budgets(budgets)
}

/// A provider's answer to a request for vectors.
fn vectors(tokens: Option<u64>) -> Act {
    let mut body = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]});
    if let Some(tokens) = tokens {
        body["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    }
    Act::Json(200, Vec::new(), body.to_string())
}

/// A request for the vector of four tokens.
const FOUR: &str = r#"{"model":"a","input":[1,2,3,4]}"#;

#[tokio::test]
async fn vectors_of_a_provider_are_paid_from_the_purses_that_answers_are_paid_from() {
    let key = |tenant: &str| Key { tenant: tenant.into(), sha256: sha256(tenant), preset: None, models: None };
    let admission = admission::Config { keys: vec![key("red"), key("blue")], ..admission::Config::default() };
    let budgets = [
        ("all", json!({"amount": "3.5 USD/month", "credit": "0.35 USD"})),
        ("red", json!({"amount": "1.2 USD/month", "credit": "0.12 USD", "tenant": "red"})),
    ];
    let house = priced_by_input(admission, &budgets).await;
    let asks = async |tenant: &str, path: &str, body: String| {
        let mut request = post(path, Body::from(body));
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a header"));
        house.send(request).await
    };
    let embeds = async |tenant: &str| asks(tenant, "/v1/embeddings", FOUR.to_owned()).await;
    assert_eq!(embeds("red").await.status, StatusCode::OK);
    assert_eq!(embeds("red").await.status, StatusCode::OK);
    let refused = embeds("red").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "insufficient_quota");
    assert!(error["message"].as_str().expect("words").contains("`red`"), "{error}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(asks("red", "/v1/chat/completions", ten("a", 0)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(embeds("blue").await.status, StatusCode::OK);

    let ends = house.completed().await;
    let served: Vec<_> = ends.iter().filter(|end| end.outcome == Outcome::Served).collect();
    assert_eq!((ends.len(), served.len()), (5, 3));
    for end in served {
        assert_eq!(end.usage.and_then(|usage| usage.prompt_tokens), Some(4));
        assert!((end.cost_usd.expect("priced").get() - 0.04).abs() < 1e-9 && !end.usage_estimated);
        assert!((end.budgets[0].hold.get() - 0.05).abs() < 1e-9, "a quarter more is held back: {:?}", end.budgets);
    }
    for (name, spent) in [("all", 0.12), ("red", 0.08)] {
        let line = house.budget(name);
        assert!((line.spent.get() - spent).abs() < 1e-9 && line.held.get() == 0.0, "{line:?}");
        let again = Budgets::recover(&configs(&budgets), house.ledger.as_ref(), house.now()).expect("readable");
        let again = again.lines(house.now()).into_iter().find(|line| line.name == name).expect("it is there");
        let near = |one: f64, other: f64| (one - other).abs() < 1e-3;
        assert!(near(again.left.get(), line.left.get()) && near(again.spent.get(), spent), "{line:?} {again:?}");
    }
}

#[tokio::test]
async fn vectors_whose_tokens_nobody_reports_cost_what_is_counted_and_refused_ones_nothing() {
    let house = priced_by_input(admission::Config::default(), &[("all", json!({"amount": "500 USD/month"}))]).await;
    house.upstream.next(vectors(None));
    assert_eq!(house.post("/v1/embeddings", FOUR).await.status, StatusCode::OK);
    house.upstream.next(Act::Json(400, Vec::new(), r#"{"error":{"message":"no"}}"#.to_owned()));
    assert_eq!(house.post("/v1/embeddings", FOUR).await.status, StatusCode::BAD_REQUEST);
    house.upstream.usually(Act::Hang);
    let mut hung_up = Box::pin(house.post("/v1/embeddings", FOUR));
    tokio::select! {
        _ = &mut hung_up => panic!("nobody answers"),
        () = house.upstream.was_asked(3) => {}
    }
    assert!((house.budget("all").held.get() - 0.05).abs() < 1e-9);
    drop(hung_up);
    let ends = house.completed().await;
    let costs: Vec<f64> = ends.iter().map(|end| end.cost_usd.expect("known or counted").get()).collect();
    assert!((costs[0] - 0.04).abs() < 1e-9 && costs[1] == 0.0 && (costs[2] - 0.04).abs() < 1e-9, "{costs:?}");
    assert_eq!(ends.iter().map(|end| end.usage_estimated).collect::<Vec<_>>(), [true, false, true]);
    let line = house.budget("all");
    assert!((line.spent.get() - 0.08).abs() < 1e-9 && line.held.get() == 0.0, "{line:?}");

    house.gateway.swap(|live| {
        let mut catalog = live.catalog.as_ref().clone();
        catalog.deployments[0].price = None;
        Live { catalog: Arc::new(catalog), ..live.clone() }
    });
    let refused = house.post("/v1/embeddings", FOUR).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text().contains("its price is unknown"), "{}", refused.text());
}

/// The probabilities that the deciding policy gives the arms of this decision, asked again with what the event says.
fn again(house: &House, policy: &policy::Snapshot, decided: &Decided) -> Vec<f64> {
    let catalog = house.gateway.catalog();
    let candidate = |arm: &pointsman::ledger::ArmRecord| Candidate {
        model: arm.model.clone(),
        deployment: arm.deployment.clone(),
        price: catalog.deployment(arm.deployment.as_str()).and_then(|known| known.price.clone()),
        in_flight: arm.in_flight,
        alternates: Vec::new(),
        prompt_cache: arm.prompt_cache,
        like: arm.like.clone(),
    };
    let candidates: Vec<Candidate> = decided.arms.iter().map(candidate).collect();
    let ask = Ask {
        context: &decided.features.context,
        prompt_tokens: decided.features.needs.prompt_tokens,
        max_tokens: decided.features.needs.max_tokens,
        choices: decided.features.needs.choices,
        preferences: &decided.preferences,
        pace: decided.pace(),
    };
    policy.score(&ask, &candidates).propensities
}

#[tokio::test]
async fn dear_money_moves_the_choice_and_the_event_says_how_much() {
    // Ten times what a request of the cheap one costs is in the purse, and half of that comes in a request.
    let state = policy::State::new(policy::Config::default(), pointsman::features::Extractor::new().schema().clone());
    let snapshot = Arc::new(state.publish());
    let plans = Plans { change: |all| cents(all), policy: Some(snapshot.clone()), ..Plans::default() };
    let house = House::with(answer(10), plans).await.with_budgets(&[("each", json!({"amount": "0.11 USD/request"}))]);
    for n in 0..60 {
        let mut request = post("/v1/chat/completions", Body::from(ten("auto", n)));
        request.headers_mut().insert("x-pointsman-cost-weight", "0".parse().expect("a header"));
        assert_eq!(house.send(request).await.status, StatusCode::OK);
        house.gateway.drained().await;
    }
    let decided = house.decided().await;
    for event in &decided {
        let logged: Vec<f64> = event.arms.iter().map(|arm| arm.propensity).collect();
        assert_eq!(again(&house, &snapshot, event), logged, "what is logged re-makes the choice");
    }
    let cheap = |event: &Decided| event.arms[0].propensity;
    assert!((cheap(&decided[0]) - 0.5).abs() < 0.01, "at first money counts nothing: {}", cheap(&decided[0]));
    let late = &decided[59];
    assert!(
        late.pace().per_usd > 0.0 && cheap(late) > cheap(&decided[0]) + 0.002,
        "{} at {:?}",
        cheap(late),
        late.pace()
    );
    let id = late.id.to_string();
    let explained = house.get(&format!("/v1/decisions/{id}")).await.json();
    assert_eq!(explained["decided"]["budgets"][0]["name"], "each");
    assert!(explained["decided"]["budgets"][0]["price"].as_f64().expect("a number") > 0.0);
}

#[tokio::test]
async fn a_dry_run_says_what_a_budget_asks_and_holds_nothing_back() {
    let house = priced(&[("all", json!({"amount": "1.5 USD/month", "credit": "0.15 USD"}))]).await;
    for n in 0..5 {
        let plan = house.post("/v1/route", ten("both", n)).await.json();
        assert_eq!((&plan["model"], &plan["excluded"]["b@here"]), (&json!("a"), &json!("over_budget")));
        assert!(plan["pace"]["purse"].as_f64().expect("a number") > 0.14);
    }
    assert_eq!(house.budget("all").held.get(), 0.0);
    tokio::time::timeout(Duration::from_secs(30), house.chat(ask("a", "Hi"))).await.expect("it answers");
}
