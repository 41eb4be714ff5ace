//! The routes beside the answers themselves.

use pointsman::admission;
use pointsman::ledger::Mode;
use serde_json::{Value, json};

use super::house::{House, Plans, Replied, ask, post};
use super::upstream::{stream, whole};

#[tokio::test]
async fn models_are_listed_once_under_every_name() {
    let house = House::new(whole("hi")).await;
    let list = house.get("/v1/models").await.json();
    let ids: Vec<&str> = list["data"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(
        ids,
        [
            "auto",
            "auto:balanced",
            "auto:best",
            "auto:cheap",
            "both",
            "a",
            "b",
            "a@here",
            "b@here",
            "local/all-MiniLM-L6-v2"
        ]
    );
    for id in ids {
        let one = house.get(&format!("/v1/models/{id}")).await;
        assert_eq!((one.status.as_u16(), one.json()["id"].as_str()), (200, Some(id)));
        assert_eq!(one.json()["object"], "model");
    }
}

#[tokio::test]
async fn every_name_of_a_model_is_understood() {
    let house = House::new(whole("hi")).await;
    for (name, reason) in
        [("auto", "policy"), ("auto:cheap", "policy"), ("both", "policy"), ("a", "pinned"), ("b@here", "pinned")]
    {
        let reply = house.chat(ask(name, "q")).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-pointsman-reason")), (200, Some(reason)), "{name}");
    }
    let modes: Vec<Mode> = house.decided().await.iter().map(|event| event.mode).collect();
    assert_eq!(modes, [Mode::Policy, Mode::Policy, Mode::Policy, Mode::Pinned, Mode::Pinned]);
    assert_eq!(house.decided().await[3].asked, "a");
}

#[tokio::test]
async fn wishes_are_granted() {
    let house = House::new(whole("hi")).await;
    let wishing = |pairs: &[(&'static str, &str)]| {
        let mut request = post("/v1/chat/completions", ask("auto", "q"));
        for (name, value) in pairs {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        request
    };
    for pairs in [
        vec![("x-pointsman-pin", "b")],
        vec![("x-pointsman-pin", "b@here")],
        vec![("x-pointsman-exclude", "a")],
        vec![("x-pointsman-tags", "eu")],
    ] {
        let reply = house.send(wishing(&pairs)).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-pointsman-model")), (200, Some("b")), "{pairs:?}");
    }
    let body = json!({"model": "auto", "metadata": {"pointsman_exclude": "b@here", "team": "x"},
                      "messages": [{"role": "user", "content": "q"}]});
    assert_eq!(house.chat(body.to_string()).await.header("x-pointsman-model"), Some("a"));
    let never = house.send(wishing(&[("x-pointsman-explore", "never"), ("x-pointsman-cost-weight", "5/usd")])).await;
    assert_eq!(never.header("x-pointsman-propensity"), Some("1.000000"));
}

#[tokio::test]
async fn a_dry_run_answers_why_and_leaves_no_trace() {
    let house = House::new(whole("hi")).await;
    let reply = house.post("/v1/route", ask("auto", "Write a haiku")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    let candidates = answer["candidates"].as_array().expect("candidates");
    let sum: f64 = candidates.iter().filter_map(|arm| arm["propensity"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    assert_eq!(candidates.len(), 2);
    assert!(candidates[0]["prediction"]["quality"]["mean"].is_f64());
    assert!(answer["why"].as_str().is_some_and(|why| why.contains("probability")), "{answer}");
    assert_eq!(answer["plan"].as_array().map(Vec::len), Some(2));
    let pinned = house.post("/v1/route", ask("a", "q")).await.json();
    assert_eq!(pinned["excluded"]["b@here"], "not_asked");
    assert!(house.events().await.is_empty());
    assert!(house.upstream.asked().is_empty());
}

#[tokio::test]
async fn a_past_decision_is_explained() {
    let house = House::new(whole("hi")).await;
    let reply = house.chat(ask("auto", "q")).await;
    let id = reply.header("x-pointsman-decision").expect("an id").to_owned();
    house.first_completed().await;
    house.post("/v1/feedback", json!({"decision_id": id, "score": 0.5}).to_string()).await;
    let explained = house.get(&format!("/v1/decisions/{id}")).await.json();
    assert_eq!(explained["id"], id);
    assert_eq!(explained["completed"]["outcome"], "served");
    assert_eq!(explained["decided"]["arms"].as_array().map(Vec::len), Some(2));
    assert_eq!(explained["feedback"][0]["score"], 0.5);
    assert!(explained["why"].as_str().is_some());
}

async fn say(house: &House, body: Value) -> Replied {
    house.post("/v1/feedback", body.to_string()).await
}

#[tokio::test]
async fn feedback_is_taken_by_either_id_in_every_form() {
    let house = House::new(stream(&["x"])).await;
    let asked = r#"{"model":"a","stream":true,"messages":[{"role":"user","content":"q"}]}"#;
    let reply = house.chat(asked).await;
    let decision = reply.header("x-pointsman-decision").expect("an id").to_owned();
    // Straight after the last byte: the event may not be there yet, the feedback must find it all the same.
    let receipt = say(&house, json!({"response_id": "cmpl-8", "score": true})).await;
    assert_eq!((receipt.status.as_u16(), receipt.json()["decision_id"].as_str()), (200, Some(decision.as_str())));
    say(&house, json!({"decision_id": decision, "value": 0.25, "channel": "judge", "comment": "fair"})).await;
    say(&house, json!({"decision_id": decision, "comment": "only words"})).await;
    let feedback = house.feedback().await;
    let said: Vec<_> = feedback
        .iter()
        .map(|one| (one.channel.as_str(), one.score.map(pointsman::base::Score::get), one.comment.as_deref()))
        .collect();
    assert_eq!(
        said,
        [("user", Some(1.0), None), ("judge", Some(0.25), Some("fair")), ("user", None, Some("only words"))]
    );
}

#[tokio::test]
async fn the_same_key_again_changes_nothing() {
    let house = House::new(whole("hi")).await;
    let id = house.chat(ask("auto", "q")).await.header("x-pointsman-decision").expect("an id").to_owned();
    let said = json!({"decision_id": id, "score": 1, "idempotency_key": "k1"});
    let both = futures::join!(say(&house, said.clone()), say(&house, said.clone()));
    let again = say(&house, said).await.json();
    assert_eq!(again["repeated"], true);
    let repeated = [both.0.json(), both.1.json()].iter().filter(|receipt| receipt["repeated"] == true).count();
    assert_eq!((repeated, house.feedback().await.len()), (1, 1));
    let mut by_header = post("/v1/feedback", json!({"decision_id": id, "score": 0}).to_string());
    by_header.headers_mut().insert("idempotency-key", "k1".parse().expect("a value"));
    assert_eq!(house.send(by_header).await.json()["repeated"], true);
    say(&house, json!({"decision_id": id, "score": 0, "idempotency_key": "k2"})).await;
    assert_eq!(house.feedback().await.len(), 2);
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let hash = super::house::sha256;
    let key = |tenant: &str| admission::Key { tenant: tenant.into(), sha256: hash(tenant), preset: None, models: None };
    let admission = admission::Config { keys: vec![key("red"), key("blue")], ..admission::Config::default() };
    let house = House::with(whole("hi"), Plans { admission, ..Plans::default() }).await;
    let request = |tenant: &str, path: &str, body: String| {
        let mut request = post(path, body);
        request.headers_mut().insert("authorization", format!("Bearer {tenant}").parse().expect("a value"));
        request
    };
    let asked = json!({"model": "a", "temperature": 0, "messages": [{"role": "user", "content": "q"}]}).to_string();
    let reply = house.send(request("red", "/v1/chat/completions", asked.clone())).await;
    let id = reply.header("x-pointsman-decision").expect("an id").to_owned();
    house.gateway.drained().await;
    for (tenant, status) in [("blue", 404), ("red", 200)] {
        let by_decision = json!({"decision_id": id, "score": 1}).to_string();
        assert_eq!(house.send(request(tenant, "/v1/feedback", by_decision)).await.status, status, "{tenant}");
        let by_response = json!({"response_id": "cmpl-7", "score": 1}).to_string();
        assert_eq!(house.send(request(tenant, "/v1/feedback", by_response)).await.status, status, "{tenant}");
        let mut explain = request(tenant, "/", String::new());
        *explain.method_mut() = axum::http::Method::GET;
        *explain.uri_mut() = format!("/v1/decisions/{id}").parse().expect("a path");
        assert_eq!(house.send(explain).await.status, status, "{tenant}");
    }
    let blue = house.send(request("blue", "/v1/chat/completions", asked.clone())).await;
    assert_eq!(blue.header("x-pointsman-cache"), Some("miss"));
    let red = house.send(request("red", "/v1/chat/completions", asked)).await;
    assert_eq!(red.header("x-pointsman-cache"), Some("hit"));
}

#[tokio::test]
async fn legacy_completions_are_served() {
    let answer = r#"{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}"#;
    let house = House::new(super::upstream::Act::Json(200, vec![], answer.to_owned())).await;
    let reply = house.post("/v1/completions", r#"{"model":"a","prompt":"q"}"#).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, answer));
    assert_eq!(house.upstream.asked()[0].path, "/v1/completions");
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let house = House::new(whole("hi")).await;
    assert_eq!(house.get("/health").await.json(), json!({"status": "ok"}));
    let ready = house.get("/ready").await;
    assert_eq!((ready.status.as_u16(), ready.json()["deployments"].as_u64()), (200, Some(2)));
    house.chat(ask("auto", "a secret prompt")).await;
    house.gateway.drained().await;
    let metrics = house.get("/metrics").await;
    for name in ["pointsman_requests_total{", "pointsman_overhead_seconds_bucket{", "# HELP pointsman_decisions_total "]
    {
        assert!(metrics.text().contains(name), "{name} is missing");
    }
    assert!(!metrics.text().contains("secret"));
    house.gateway.close();
    assert_eq!(house.get("/ready").await.status, 503);
    assert_eq!(house.get("/health").await.status, 200);
}

#[tokio::test]
async fn browsers_are_let_in_only_from_named_origins() {
    let house = House::new(whole("hi")).await;
    let from = |origin: &str| {
        let mut request = post("/v1/chat/completions", ask("a", "q"));
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        request
    };
    assert_eq!(house.send(from("https://a.example")).await.header("access-control-allow-origin"), None);
    let config = pointsman::http::Config { cors_origins: vec!["https://a.example".into()] };
    assert!(config.problems().is_empty());
    let open = House { router: pointsman::http::router_with(house.gateway.clone(), &config), ..house };
    let allowed = open.send(from("https://a.example")).await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(open.send(from("https://b.example")).await.header("access-control-allow-origin"), None);
}
