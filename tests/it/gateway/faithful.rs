//! Bytes in, bytes out: what may change on the way, and nothing else.

use std::time::Duration;

use futures::StreamExt;

use super::house::{House, ask};
use super::upstream::{self, events, stream, whole, whole_body};

#[tokio::test]
async fn a_body_arrives_upstream_with_nothing_changed_but_the_model() {
    let house = House::new(whole("hi")).await;
    let body = "{ \"messages\":[{\"content\":\"caf\\u00e9 \u{1f980}\",\"role\":\"user\",\"x\":null}],\
                \t\"novel\":{\"b\":1e2,\"a\":[12345678901234567890123]}, \"model\" : \"a\" ,\"seed\":18446744073709551616}\n";
    let reply = house.chat(body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let asked = house.upstream.asked().remove(0);
    assert_eq!(std::str::from_utf8(&asked.body).expect("UTF-8"), body.replace("\"a\" ,", "\"up-a\" ,"));
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.headers["authorization"], "Bearer provider-secret");
}

#[tokio::test]
async fn an_answer_reaches_the_client_byte_for_byte() {
    let house = House::new(whole("hi")).await;
    let reply = house.chat(ask("a", "q")).await;
    assert_eq!(reply.text(), whole_body("hi"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
}

#[tokio::test]
async fn a_stream_reaches_the_client_byte_for_byte() {
    let pieces = ["Hel", "lo \u{1f980}", "\n"];
    let house = House::new(stream(&pieces)).await;
    let wanted = r#"{"model":"auto","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"q"}]}"#;
    let reply = house.chat(wanted).await;
    assert_eq!(reply.text(), events(&pieces).concat());
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_eq!(reply.header("x-pointsman-cost-usd"), None, "not known before the end");
    let completed = house.completed().await.remove(0);
    assert_eq!(completed.usage.and_then(|usage| usage.prompt_tokens), Some(9));
    assert!(completed.cost_usd.is_some() && completed.stream && !completed.usage_estimated);
    assert_eq!(completed.response_id.as_deref(), Some("cmpl-8"));
}

#[tokio::test]
async fn usage_is_asked_for_upstream_and_kept_from_a_client_who_did_not() {
    let house = House::new(stream(&["x"])).await;
    let reply = house.chat(r#"{"model":"a","stream":true,"messages":[{"role":"user","content":"q"}]}"#).await;
    let asked: serde_json::Value = serde_json::from_slice(&house.upstream.asked()[0].body).expect("JSON");
    assert_eq!(asked["stream_options"]["include_usage"], true);
    assert!(!reply.text().contains("\"prompt_tokens\""), "{}", reply.text());
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert!(house.completed().await[0].usage.is_some());
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come() {
    let mut script: Vec<Option<String>> = events(&["one ", "two"]).into_iter().map(Some).collect();
    // After the first content the provider waits until the client has seen it.
    script.insert(2, None);
    let house = House::new(upstream::Act::Stream(script)).await;
    let (address, stop, ended) = house.listen(Duration::from_secs(5)).await;
    let body = r#"{"model":"a","stream":true,"messages":[{"role":"user","content":"q"}]}"#;
    let client = reqwest::Client::new();
    let request = client.post(format!("http://{address}/v1/chat/completions")).body(body);
    let mut pieces = request.header("content-type", "application/json").send().await.expect("a reply").bytes_stream();
    let mut seen = String::new();
    while !seen.contains("one ") {
        seen.push_str(std::str::from_utf8(&pieces.next().await.expect("more").expect("whole")).expect("UTF-8"));
    }
    assert!(!seen.contains("two"));
    house.upstream.go_on();
    while let Some(piece) = pieces.next().await {
        seen.push_str(std::str::from_utf8(&piece.expect("whole")).expect("UTF-8"));
    }
    assert!(seen.contains("two") && seen.ends_with("data: [DONE]\n\n"));
    drop(stop);
    ended.await;
}

#[tokio::test]
async fn what_was_decided_stands_in_the_headers() {
    let house = House::new(whole("hi")).await;
    let reply = house.chat(ask("auto", "q")).await;
    let decided = house.decided().await.remove(0);
    let completed = house.completed().await.remove(0);
    let arm = decided.arm().expect("an arm");
    assert_eq!(reply.header("x-pointsman-decision"), Some(decided.id.to_string().as_str()));
    assert_eq!(reply.header("x-pointsman-model"), Some(arm.model.as_str()));
    assert_eq!(reply.header("x-pointsman-deployment"), Some(arm.deployment.as_str()));
    assert_eq!(reply.header("x-pointsman-reason"), Some("policy"));
    assert_eq!(reply.header("x-pointsman-propensity"), Some(format!("{:.6}", arm.propensity).as_str()));
    assert_eq!(reply.header("x-pointsman-policy"), Some(decided.policy.as_str()));
    assert_eq!(reply.header("x-pointsman-explored"), Some(if decided.chosen == decided.greedy { "0" } else { "1" }));
    assert_eq!(reply.header("x-pointsman-attempts"), Some("1"));
    assert_eq!(reply.header("x-pointsman-cache"), Some("bypass"));
    assert_eq!(reply.header("x-pointsman-upstream-request-id"), Some("up-1"));
    let cost: f64 = reply.header("x-pointsman-cost-usd").expect("a known price").parse().expect("a number");
    assert!((cost - completed.cost_usd.expect("known").get()).abs() < 1e-12);
    assert!(reply.header("x-pointsman-overhead-ms").expect("measured").parse::<f64>().expect("a number") >= 0.0);
    assert_eq!(completed.served, Some(arm.deployment.clone()));
    assert!(completed.overhead_ms <= completed.total_ms);
}

#[tokio::test]
async fn an_unknown_price_is_an_absent_cost() {
    let plans = super::house::Plans { change: |all| all[0].price = None, ..Default::default() };
    let house = House::with(whole("hi"), plans).await;
    let reply = house.chat(ask("a", "q")).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-pointsman-cost-usd")), (200, None));
    assert_eq!(house.completed().await[0].cost_usd, None);
}

#[tokio::test]
async fn the_callers_request_id_is_echoed_and_another_is_made_where_there_is_none() {
    let house = House::new(whole("hi")).await;
    let mut request = super::house::post("/v1/chat/completions", ask("a", "q"));
    request.headers_mut().insert("x-request-id", "mine-1".parse().expect("a value"));
    assert_eq!(house.send(request).await.header("x-request-id"), Some("mine-1"));
    let made = house.get("/health").await;
    assert!(made.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
}

#[tokio::test]
async fn our_own_headers_and_the_callers_key_do_not_go_upstream() {
    let house = House::new(whole("hi")).await;
    let mut request = super::house::post("/v1/chat/completions", ask("auto", "q"));
    request.headers_mut().insert("x-pointsman-explore", "never".parse().expect("a value"));
    request.headers_mut().insert("authorization", "Bearer client-secret".parse().expect("a value"));
    assert_eq!(house.send(request).await.status, 200);
    let headers = &house.upstream.asked()[0].headers;
    assert!(!headers.keys().any(|name| name.as_str().starts_with("x-pointsman")), "{headers:?}");
    assert!(headers.values().all(|value| value.to_str().is_ok_and(|value| !value.contains("client-secret"))));
}

#[tokio::test]
async fn a_failed_first_choice_is_answered_by_the_other_model() {
    let house = House::new(whole("hi")).await;
    house.upstream.next(upstream::Act::Json(500, vec![], r#"{"error":{"message":"broken"}}"#.into()));
    let reply = house.chat(ask("auto", "q")).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-pointsman-reason")), (200, Some("fallback")));
    assert_eq!(reply.header("x-pointsman-attempts"), Some("2"));
    let completed = house.completed().await.remove(0);
    assert_eq!(completed.attempts.len(), 2);
    assert_eq!(completed.attempts[0].error.map(pointsman::base::Kind::name), Some("upstream_unavailable"));
    assert_ne!(completed.served.as_ref(), Some(&completed.attempts[0].deployment));
}
