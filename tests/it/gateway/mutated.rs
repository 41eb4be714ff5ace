//! Whatever comes in, a proper answer goes out: never a panic, never an error that is not ours.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::house::House;
use super::upstream::whole;

/// A body that uses most of what a chat request has.
fn full() -> Value {
    json!({
        "model": "auto", "stream": false, "temperature": 0.5, "n": 1, "max_tokens": 64, "user": "u", "logprobs": true,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
                "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "r"}
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "stream_options": {"include_usage": true},
        "metadata": {"pointsman_explore": "never", "k": "v"},
        "unknown": {"deep": [1, 2.5, "x", null, true]}
    })
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), into));
        }
        Value::Object(fields) => fields.iter().for_each(|(key, field)| places(field, &format!("{at}/{key}"), into)),
        _ => {}
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no such number", |number| number.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A body with some values replaced.
fn replaced() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<Index>(), anything()), 1..4).prop_map(|changes| {
        let mut body = full();
        for (index, value) in changes {
            let mut all = Vec::new();
            places(&body, "", &mut all);
            if let Some(place) = body.pointer_mut(index.get(&all[..]).as_str()) {
                *place = value;
            }
        }
        body.to_string().into_bytes()
    })
}

/// A body with some bytes replaced, taken out or cut off.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..6).prop_map(|changes| {
        let mut body = full().to_string().into_bytes();
        for (index, byte, how) in changes {
            if body.is_empty() {
                break;
            }
            let at = index.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                _ => body.truncate(at),
            }
        }
        body
    })
}

#[test]
fn mutated_bodies_get_proper_answers() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let house = runtime.block_on(House::new(whole("hi")));
    let paths = ["/v1/chat/completions", "/v1/completions", "/v1/route", "/v1/feedback", "/v1/embeddings"];
    let strategy = (prop_oneof![replaced(), broken()], prop::sample::select(paths.to_vec()));
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases: 512,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    });
    let outcome = runner.run(&strategy, |(body, path)| {
        let reply = runtime.block_on(house.post(path, body));
        let status = reply.status.as_u16();
        // 503: the local encoder, which this house has not.
        prop_assert!(status < 500 || status == 503, "{}: {}", status, reply.text());
        if status >= 400 {
            let error = &reply.json()["error"];
            prop_assert!(error["message"].is_string() && error["type"].is_string() && error["code"].is_string());
        }
        Ok(())
    });
    outcome.expect("every body gets a proper answer");
    let admitted = runtime.block_on(house.completed());
    let ids: std::collections::BTreeSet<_> = admitted.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), admitted.len());
    assert!(admitted.iter().any(|event| event.outcome == pointsman::ledger::Outcome::Served), "some must get through");
    assert_eq!(house.gateway.admission().in_flight(), 0);
}
