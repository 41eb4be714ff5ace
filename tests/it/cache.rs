//! The exact cache's keys and replays, as properties.

use bytes::Bytes;
use pointsman::base::TenantId;
use pointsman::cache::{self, Key, Scope};
use pointsman::chat::{ChatRequest, Endpoint};
use proptest::prelude::*;
use serde_json::{Value, json};

fn key_of(tenant: &str, models: &[&str], preferences: &[u8], endpoint: Endpoint, body: String) -> Key {
    let request = ChatRequest::parse(endpoint, Bytes::from(body)).expect("a request");
    cache::key(&Scope { tenant: &TenantId::from(tenant), models, preferences, generation: 0 }, &request)
        .expect("one meaning")
}

fn key(body: String) -> Key {
    key_of("t", &["a", "b"], b"p", Endpoint::ChatCompletions, body)
}

const FIELDS: [(&str, &str); 8] = [
    ("model", "\"auto\""),
    ("messages", r#"[{"role":"system","content":"s"},{"role":"user","content":"q \u00e9"}]"#),
    ("temperature", "0.50"),
    ("seed", "12345678901234567890"),
    ("stop", r#"["x","y"]"#),
    ("response_format", r#"{"type":"json_object"}"#),
    ("novel", r#"{"b":[1,2],"a":null}"#),
    ("max_tokens", "100"),
];

fn written(fields: &[(&str, &str)], space: &str) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{value}")).collect();
    format!("{{{}{space}}}", fields.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn ten_thousand_permutations_make_one_key(
        order in Just((0..FIELDS.len()).collect::<Vec<_>>()).prop_shuffle(),
        space in "[ \n\t]{0,3}",
    ) {
        let shuffled: Vec<(&str, &str)> = order.into_iter().map(|index| FIELDS[index]).collect();
        prop_assert_eq!(key(written(&shuffled, &space)), key(written(&FIELDS, "")));
    }
}

proptest! {
    #[test]
    fn any_changed_ingredient_makes_another_key(which in 1..FIELDS.len(), how in 0..4_usize) {
        let other = [
            r#"[{"role":"user","content":"q"}]"#, r#"[{"role":"user","content":"Q"}]"#, "0.51", "0",
            "12345678901234567891", "7", r#"["y","x"]"#, "[]", r#"{"type":"text"}"#, "null",
            r#"{"b":[2,1],"a":null}"#, r#"{"b":[1,2]}"#, "101", "1",
        ];
        let mut fields = FIELDS;
        let changed = match how {
            0 | 1 => other[2 * (which - 1) + how],
            2 => "",
            _ => FIELDS[which].1,
        };
        // Without the field, and with one more, are changes too.
        let body = match how {
            2 if FIELDS[which].0 == "messages" => return Ok(()),
            2 => written(&FIELDS.iter().copied().filter(|(name, _)| *name != FIELDS[which].0).collect::<Vec<_>>(), ""),
            3 => written(&[&FIELDS[..], &[("another", changed)]].concat(), ""),
            _ => {
                fields[which].1 = changed;
                written(&fields, "")
            }
        };
        prop_assert_ne!(key(body), key(written(&FIELDS, "")));
    }

    #[test]
    fn two_tenants_never_share(text in ".{1,40}", one in "[a-z]{1,8}", other in "[a-z]{1,8}") {
        prop_assume!(one != other);
        let body = || json!({"model": "auto", "messages": [{"role": "user", "content": text}]}).to_string();
        let of = |tenant: &str| key_of(tenant, &["a"], b"", Endpoint::ChatCompletions, body());
        prop_assert_ne!(of(&one), of(&other));
        prop_assert_eq!(of(&one), of(&one));
    }

    #[test]
    fn a_replayed_stream_adds_up_to_the_answer(
        content in "[ -~\\n\u{e9}\u{1f980}]{0,80}",
        reasoning in proptest::option::of("[a-z ]{0,40}"),
        usage in any::<bool>(),
    ) {
        let mut message = json!({"role": "assistant", "content": content, "annotations": [{"n": 1}], "audio": null});
        if let Some(reasoning) = &reasoning {
            message["reasoning_content"] = reasoning.clone().into();
        }
        let answer = json!({
            "id": "x", "object": "chat.completion", "created": 5, "model": "m", "system_fingerprint": "f", "novel": {"a": [1.5]},
            "choices": [{"index": 0, "message": message, "logprobs": {"content": [{"token": "t"}]}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        });
        let endpoint = Endpoint::ChatCompletions;
        let events = cache::replay::stream(endpoint, answer.to_string().as_bytes(), "x", 5, usage).expect("an answer");
        prop_assert_eq!(events.last().map(|last| &last[..]), Some(&b"data: [DONE]\n\n"[..]));
        let data: Vec<&[u8]> = events.iter().map(|event| &event[6..event.len() - 2]).collect();
        let whole = cache::replay::whole_of_stream(endpoint, data).expect("adds up");
        let mut whole: Value = serde_json::from_slice(&whole).expect("JSON");
        let mut expected = answer;
        if !usage {
            expected.as_object_mut().expect("an object").remove("usage");
        }
        whole.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        prop_assert_eq!(whole, expected);
    }

    #[test]
    fn a_replay_changes_only_id_and_time(novel in "[ -~]{0,20}", number in any::<u64>()) {
        let body = format!(
            "{{\"novel\":{},\"id\" : \"old\",\"created\":1.0e9, \"n\":{number}.50,\"inner\":{{\"id\":\"kept\"}}}}",
            Value::from(novel)
        );
        let whole = cache::replay::whole(body.as_bytes(), "new", 7).expect("an object");
        let expected = body.replace("\"old\"", "\"new\"").replace("1.0e9", "7");
        prop_assert_eq!(std::str::from_utf8(&whole).expect("UTF-8"), expected);
    }
}

#[test]
fn what_stands_beside_the_body_is_part_of_the_key() {
    let body = || r#"{"model":"m","prompt":"q","messages":[{"role":"user","content":"q"}]}"#.to_owned();
    let chat = Endpoint::ChatCompletions;
    let base = key_of("t", &["a", "b"], b"p", chat, body());
    assert_eq!(base, key_of("t", &["a", "b"], b"p", chat, body()));
    for other in [
        key_of("u", &["a", "b"], b"p", chat, body()),
        key_of("t", &["a"], b"p", chat, body()),
        key_of("t", &["ab"], b"p", chat, body()),
        key_of("t", &["a", "b"], b"q", chat, body()),
        key_of("t", &["a", "b"], b"p", Endpoint::Completions, body()),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn labels_and_the_form_of_delivery_are_not() {
    let plain = key(r#"{"model":"auto","messages":[{"role":"user","content":"q"}]}"#.to_owned());
    let dressed = r#"{"stream":true,"stream_options":{"include_usage":true},"metadata":{"team":"x"},"model":"auto:balanced",
                      "messages":[{"content":"q","role":"user"}]}"#;
    assert_eq!(plain, key(dressed.to_owned()));
    let user = r#"{"user":"u","model":"auto","messages":[{"role":"user","content":"q"}]}"#;
    assert_ne!(plain, key(user.to_owned()), "users of one tenant do not share");
}
