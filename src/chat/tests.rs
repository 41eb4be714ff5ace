use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::base::{Error, Kind};

fn chat(body: &str) -> Result<ChatRequest, Error> {
    ChatRequest::parse(Endpoint::ChatCompletions, Bytes::copy_from_slice(body.as_bytes()))
}

/// What goes upstream to the model `up/1` for this body.
fn upstream(body: &str) -> String {
    let request = chat(body).expect("a good body");
    String::from_utf8(request.upstream_body("up/1").to_vec()).expect("text")
}

#[test]
fn every_kind_of_content_is_seen() {
    let request = chat(
        r#"{"model":"auto","messages":[
            {"role":"developer","content":"Be \u00e9xact."},
            {"role":"user","content":[{"type":"text","text":"What is"},{"type":"image_url","image_url":{"url":"data:x"}},
                {"type":"input_audio","input_audio":{}},{"type":"hologram","depth":[[[]]]},"bare",{"type":"text","text":"this?"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1"},{"id":"2"}]},
            {"role":"tool","tool_call_id":"1"},
            {"role":"assistant","function_call":{"name":"f"},"content":[]},
            {"role":"critic","content":"cut \ud83d here"}]}"#,
    )
    .expect("a good body");
    let message = |role, text: &str, images, other_media, tool_calls| Message {
        role,
        text: text.to_owned(),
        images,
        other_media,
        tool_calls,
    };
    assert_eq!(
        request.view.messages,
        [
            message(Role::System, "Be éxact.", 0, 0, 0),
            message(Role::User, "What is\nbare\nthis?", 1, 1, 0),
            message(Role::Assistant, "", 0, 0, 2),
            message(Role::Tool, "", 0, 0, 0),
            message(Role::Assistant, "", 0, 0, 1),
            message(Role::Other, "cut \u{fffd}\u{fffd}\u{fffd} here", 0, 0, 0),
        ]
    );
    assert_eq!(request.prompt(), "What is\nbare\nthis?");
    assert!(request.view.text().starts_with("Be éxact.\nWhat is\nbare"));
}

#[test]
fn every_field_that_routing_reads_is_seen() {
    let view = chat(
        r#"{"model":"auto:cheap","messages":[{"role":"user","content":"x"}],"stream":true,"n":2,"temperature":0.5,
            "max_tokens":10,"max_completion_tokens":20.0,"logprobs":true,"user":"u","stream_options":{"include_usage":true},
            "metadata":{"pointsman_explore":"never","team":"a","count":3},
            "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object", "x":1}}},{"type":"web_search"}],
            "functions":[{"name":"old"}],
            "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type": "array"}}}}"#,
    )
    .expect("a good body")
    .view;
    assert_eq!((view.model.as_str(), view.stream, view.include_usage, view.n), ("auto:cheap", true, true, 2));
    assert_eq!((view.temperature, view.max_tokens, view.logprobs), (Some(0.5), Some(20), true));
    assert_eq!(view.user.as_deref(), Some("u"));
    let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(view.metadata, [owned("pointsman_explore", "never"), owned("team", "a")]);
    let names: Vec<&str> = view.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["f", "web_search", "old"]);
    let parameters = view.tools[0].parameters.as_ref().expect("given");
    assert_eq!(parameters.to_string(), r#"{"type":"object", "x":1}"#);
    let ResponseFormat::JsonSchema(schema) = view.response_format else { panic!("a schema was given") };
    assert_eq!(schema.value(), Some(json!({"type": "array"})));
}

#[test]
fn null_is_as_good_as_absent() {
    let nulls = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":null,"stream_options":null,"n":null,
        "temperature":null,"max_tokens":null,"logprobs":null,"metadata":null,"tools":null,"response_format":null,"user":null}"#;
    let view = chat(nulls).expect("a good body").view;
    assert_eq!((view.stream, view.n, view.max_tokens, view.temperature), (false, 1, None, None));
    assert!(view.tools.is_empty() && view.metadata.is_empty() && view.user.is_none());
}

#[test]
fn the_legacy_prompt_is_one_user_message() {
    let parse = |body: &str| ChatRequest::parse(Endpoint::Completions, Bytes::copy_from_slice(body.as_bytes()));
    for (prompt, text) in [(r#""Say hi""#, "Say hi"), (r#"["a","b"]"#, "a\nb"), ("[1,2,3]", ""), ("[[1,2],[3]]", "")] {
        let request = parse(&format!(r#"{{"model":"m","prompt":{prompt},"logprobs":3}}"#)).expect("a good body");
        assert_eq!(request.view.messages.len(), 1);
        assert_eq!(request.prompt(), text);
        assert!(request.view.logprobs);
    }
    assert_eq!(parse(r#"{"model":"m"}"#).expect_err("no prompt").param.as_deref(), Some("prompt"));
    let error = parse(r#"{"model":"m","prompt":{"a":1}}"#).expect_err("wrong type");
    assert_eq!(
        error.message,
        "`prompt`: expected a string, an array of strings or an array of tokens, found an object"
    );
}

#[test]
fn a_bad_body_is_told_what_is_wrong_with_it() {
    let user = r#"{"role":"user","content":"secret words"}"#;
    let with = |fields: &str| format!(r#"{{"model":"m","messages":[{user}],{fields}}}"#);
    let cases = [
        (String::new(), "", "the body is not JSON: EOF while parsing a value (line 1, column 0)"),
        ("[1]".into(), "", "the body: expected an object, found an array"),
        ("\"x\"".into(), "", "the body: expected an object, found a string"),
        ("{\"model\":\"m\"".into(), "", "the body is not JSON: EOF while parsing an object (line 1, column 12)"),
        (with("\"a\":NaN"), "", "the body is not JSON: expected value (line 1, column 72)"),
        (with("\"a\":1}{"), "", "the body is not JSON: trailing characters (line 1, column 74)"),
        (
            format!("{{\"messages\":[{user}]}}"),
            "model",
            "`model`: expected the name of a model; `auto` lets Pointsman choose",
        ),
        (with("\"model\":\"n\""), "model", "`model`: given twice, expected once"),
        (format!("{{\"model\":7,\"messages\":[{user}]}}"), "model", "`model`: expected a string, found a number"),
        (
            format!("{{\"model\":\" \",\"messages\":[{user}]}}"),
            "model",
            "`model`: expected the name of a model, found an empty one; `auto` lets Pointsman choose",
        ),
        ("{\"model\":\"m\"}".into(), "messages", "`messages`: expected at least one message"),
        ("{\"model\":\"m\",\"messages\":[]}".into(), "messages", "`messages`: expected at least one message"),
        (
            "{\"model\":\"m\",\"messages\":\"secret words\"}".into(),
            "messages",
            "`messages`: expected an array, found a string",
        ),
        (
            "{\"model\":\"m\",\"messages\":[\"secret words\"]}".into(),
            "messages[0]",
            "`messages[0]`: expected an object, found a string",
        ),
        (
            format!("{{\"model\":\"m\",\"messages\":[{user},{user},{{\"role\":\"user\",\"content\":5}}]}}"),
            "messages[2].content",
            "`messages[2].content`: expected a string, an array of content parts or null, found a number",
        ),
        (
            format!("{{\"model\":\"m\",\"messages\":[{user},{{\"role\":\"user\",\"content\":[5]}}]}}"),
            "messages[1].content[0]",
            "`messages[1].content[0]`: expected a content part: an object with a `type`, found a number",
        ),
        (
            format!(
                "{{\"model\":\"m\",\"messages\":[{user},{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":[]}}]}}]}}"
            ),
            "messages[1].content[0]",
            "`messages[1].content[0]`: expected a string as `text`, found an array",
        ),
        (
            "{\"model\":\"m\",\"messages\":[{\"content\":\"secret words\"}]}".into(),
            "messages[0].role",
            "`messages[0].role`: required, found nothing",
        ),
        (with("\"stream\":\"yes\""), "stream", "`stream`: expected a boolean, found a string"),
        (with("\"stream_options\":[]"), "stream_options", "`stream_options`: expected an object, found an array"),
        (
            with("\"stream_options\":{\"include_usage\":1}"),
            "stream_options.include_usage",
            "`stream_options.include_usage`: expected a boolean, found a number",
        ),
        (with("\"temperature\":\"secret words\""), "temperature", "`temperature`: expected a number, found a string"),
        (with("\"n\":0"), "n", "`n`: expected 1 or more, found 0"),
        (with("\"n\":1.5"), "n", "`n`: expected a whole number, 0 or more, found a number"),
        (with("\"max_tokens\":-1"), "max_tokens", "`max_tokens`: expected a whole number, 0 or more, found a number"),
        (
            with("\"tools\":[{\"function\":{}}]"),
            "tools[0].function.name",
            "`tools[0].function.name`: required, found nothing",
        ),
        (with("\"metadata\":\"x\""), "metadata", "`metadata`: expected an object, found a string"),
        (
            with("\"response_format\":\"json\""),
            "response_format",
            "`response_format`: expected an object, found a string",
        ),
    ];
    for (body, param, message) in cases {
        let error = chat(&body).expect_err(&body);
        assert_eq!(error.kind, Kind::InvalidRequest, "{body}");
        assert_eq!((error.param.as_deref(), error.message.as_str()), (Some(param), message), "{body}");
        assert!(!error.message.contains("secret"), "{body}");
    }
    let error = ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from_static(b"{\"model\":\"\xff\"}"));
    assert_eq!(error.expect_err("not UTF-8").message, "the body is not JSON: byte 10 is not UTF-8");
}

#[test]
fn nesting_without_end_neither_overflows_nor_is_refused_where_nobody_looks() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let user = r#"{"role":"user","content":"x"}"#;
    let unknown = chat(&format!(r#"{{"model":"m","messages":[{user}],"extra":{deep}}}"#));
    assert!(unknown.is_ok(), "{unknown:?}");
    let tool =
        chat(&format!(r#"{{"model":"m","messages":[{user}],"functions":[{{"name":"f","parameters":{deep}}}]}}"#));
    assert_eq!(tool.expect("a good body").view.tools[0].parameters.as_ref().expect("given").value(), None);
    for field in ["messages", "model", "metadata", "stream_options", "tools"] {
        assert!(chat(&format!(r#"{{"model":"m","messages":[{user}],"{field}":{deep}}}"#)).is_err(), "{field}");
    }
}

#[test]
fn nothing_but_the_model_changes_where_nothing_else_must() {
    let body = r#" {"model" : "auto" ,"messages":[{"role":"user","content":"\u0041\/"}],
        "seed":123456789012345678901234567890, "x":1.0e400,"x":2, "stream":false,"metadata":{"a":"b"} } "#;
    assert_eq!(upstream(body), body.replace("\"auto\"", "\"up/1\""));
    let same = chat(&body.replace("auto", "up/1")).expect("a good body");
    assert_eq!(same.upstream_body("up/1").as_ptr(), same.body.as_ptr(), "the same buffer");
    assert!(String::from_utf8_lossy(&same.upstream_body("quo\"te")).contains(r#""model" : "quo\"te""#));
}

#[test]
fn a_stream_is_asked_for_its_usage_with_the_least_edit() {
    for (before, after) in [
        (r#""model":"auto","stream":true"#, r#""model":"up/1","stream_options":{"include_usage":true},"stream":true"#),
        (r#""stream":true,"model":"auto""#, r#""stream":true,"model":"up/1","stream_options":{"include_usage":true}"#),
        (
            r#""stream_options":null,"stream":true,"model":"auto""#,
            r#""stream_options":{"include_usage":true},"stream":true,"model":"up/1""#,
        ),
        (
            r#""stream":true,"model":"auto","stream_options": { } "#,
            r#""stream":true,"model":"up/1","stream_options": {"include_usage":true } "#,
        ),
        (
            r#""stream":true,"model":"auto","stream_options":{"a":1}"#,
            r#""stream":true,"model":"up/1","stream_options":{"include_usage":true,"a":1}"#,
        ),
        (
            r#""stream":true,"model":"auto","stream_options":{"a":1,"include_usage":false}"#,
            r#""stream":true,"model":"up/1","stream_options":{"a":1,"include_usage":true}"#,
        ),
        (
            r#""stream":true,"model":"auto","stream_options":{"include_usage":null}"#,
            r#""stream":true,"model":"up/1","stream_options":{"include_usage":true}"#,
        ),
        (
            r#""stream":true,"model":"auto","stream_options":{"include_usage":true}"#,
            r#""stream":true,"model":"up/1","stream_options":{"include_usage":true}"#,
        ),
        (
            r#""stream":false,"model":"auto","stream_options":{"a":1}"#,
            r#""stream":false,"model":"up/1","stream_options":{"a":1}"#,
        ),
    ] {
        let whole = |fields: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
        assert_eq!(upstream(&whole(before)), whole(after));
    }
}

#[test]
fn wishes_to_the_router_do_not_go_upstream() {
    for (before, after) in [
        (r#""metadata":{"pointsman_explore":"never"},"model":"auto","z":1"#, r#""model":"up/1","z":1"#),
        (r#""model":"auto" , "metadata" : {"pointsman_a":"b"} ,"z":1"#, r#""model":"up/1" ,"z":1"#),
        (r#""model":"auto","z":1, "metadata":{"pointsman_a":"b"}"#, r#""model":"up/1","z":1"#),
        (
            r#""model":"auto","metadata":{"a" : "\u0041", "pointsman_a":"b","c": "d"}"#,
            r#""model":"up/1","metadata":{"a":"\u0041","c":"d"}"#,
        ),
        (r#""model":"auto","metadata":{"points\u006dan_a":"b"}"#, r#""model":"up/1""#),
        (r#""model":"auto","metadata": { "a":"pointsman_" } "#, r#""model":"up/1","metadata": { "a":"pointsman_" } "#),
        (
            r#""model":"auto","metadata":{"pointsman_a":"b"},"stream":true"#,
            r#""model":"up/1","stream_options":{"include_usage":true},"stream":true"#,
        ),
    ] {
        // In front of and behind the prompt.
        let messages = r#""messages":[{"role":"user","content":"x"}]"#;
        assert_eq!(upstream(&format!("{{{before},{messages}}}")), format!("{{{after},{messages}}}"));
        assert_eq!(upstream(&format!("{{{messages},{before}}}")), format!("{{{messages},{after}}}"));
    }
}

/// Bodies that a mutation may turn into something that is almost right.
const GOOD: [&str; 4] = [
    r#"{"model":"auto","messages":[{"role":"user","content":"Why is the sky blue?"}]}"#,
    r#"{"stream":true,"stream_options":{"include_usage":null},"model":"a","messages":[{"role":"user","content":[{"type":"text","text":"\ud83d\ude00"},{"type":"image_url","image_url":{"url":"u"}}]}],"metadata":{"pointsman_x":"1","y":"2"}}"#,
    r#"{"model":"m","n":2,"temperature":1e0,"max_tokens":5,"logprobs":false,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"messages":[{"role":"system","content":""},{"role":"tool","content":null}],"response_format":{"type":"json_schema","json_schema":{"schema":{}}}}"#,
    r#"{"model":"m","prompt":["a",[1]],"metadata":{"pointsman_x":"1"},"stream":true,"user":"u"}"#,
];

#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<prop::sample::Index>;
    let token = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4),
        prop::sample::select(vec![
            "{", "}", "[", "]", "\"", ",", ":", "null", "1e999", "\\u", "\\ud800", "-", "\u{feff}", "true"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        (place(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        place().prop_map(Mutation::Cut),
        (place(), token).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (place(), 1_usize..20).prop_map(|(at, length)| Mutation::Remove(at, length)),
    ]
}

fn mutate(mut body: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    for mutation in mutations {
        if body.is_empty() {
            break;
        }
        match mutation {
            Mutation::Flip(at, bit) => {
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
            }
            Mutation::Cut(at) => body.truncate(at.index(body.len())),
            Mutation::Insert(at, bytes) => {
                let at = at.index(body.len());
                body.splice(at..at, bytes);
            }
            Mutation::Remove(at, length) => {
                let at = at.index(body.len());
                body.drain(at..(at + length).min(body.len()));
            }
        }
    }
    body
}

/// Any JSON, with keys that matter among them.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "stream",
        "stream_options",
        "include_usage",
        "metadata",
        "pointsman_x",
        "tools",
        "function",
        "name",
        "n",
        "prompt",
        "other",
    ]);
    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..8).prop_map(|members| {
                Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

fn check(endpoint: Endpoint, body: Vec<u8>) -> Result<(), TestCaseError> {
    match ChatRequest::parse(endpoint, body.into()) {
        Err(error) => prop_assert!(error.kind == Kind::InvalidRequest && error.param.is_some()),
        Ok(request) => {
            let edited = request.upstream_body("up/1");
            let again = ChatRequest::parse(endpoint, edited);
            prop_assert!(again.is_ok(), "{again:?} of {:?}", request.body);
            prop_assert_eq!(again.expect("just checked").view.messages, request.view.messages);
        }
    }
    Ok(())
}

/// The members of a body, their names and values as written.
fn members(body: &str) -> Vec<(String, String)> {
    edit::raw_members(body).expect("an object")
}

proptest! {
    #[test]
    fn no_mutation_of_a_body_makes_it_panic(
        base in prop::sample::select(GOOD.to_vec()),
        mutations in proptest::collection::vec(mutation(), 1..6),
    ) {
        let body = mutate(base.as_bytes().to_vec(), mutations);
        check(Endpoint::ChatCompletions, body.clone())?;
        check(Endpoint::Completions, body)?;
    }

    #[test]
    fn no_json_makes_it_panic(value in any_json()) {
        check(Endpoint::ChatCompletions, value.to_string().into_bytes())?;
        check(Endpoint::Completions, value.to_string().into_bytes())?;
    }

    #[test]
    fn what_goes_upstream_differs_in_what_must_and_in_nothing_else(
        options in prop::sample::select(vec!["", "null", "{}", r#"{"include_usage":false}"#, r#"{"x":[1, 2],"include_usage":null}"#, r#"{ "x" : 1 }"#, r#"{"include_usage":true}"#]),
        metadata in prop::sample::select(vec!["", "null", "{}", r#"{"a":"b"}"#, r#"{"pointsman_a":"b"}"#, r#"{"a" : "b" ,"pointsman_a":"b", "c":1}"#]),
        stream in any::<bool>(),
        space in prop::sample::select(vec!["", " ", "\n\t", "\r\n  "]),
        order in any::<u64>(),
    ) {
        let mut fields = vec![
            r#""model":"auto""#.to_owned(),
            r#""messages":[ {"role":"user","content":"\u00e9 \/ \ud83d\ude00", "x":1.10}]"#.to_owned(),
            format!("\"stream\":{stream}"),
            r#""seed":90071992547409931234567890"#.to_owned(),
            r#""twice":1e400"#.to_owned(),
            r#""twice":-0"#.to_owned(),
            r#""t\u0077o":"q\"\\""#.to_owned(),
        ];
        fields.extend((!options.is_empty()).then(|| format!("\"stream_options\":{space}{options}")));
        fields.extend((!metadata.is_empty()).then(|| format!("\"metadata\"{space}:{metadata}")));
        // Any order will do, as long as every one comes up.
        fields.sort_by_key(|field| blake3::hash(format!("{order}{field}").as_bytes()).as_bytes()[0]);
        let body = format!("{space}{{{space}{}{space}}}{space}", fields.join(&format!("{space},{space}")));
        let edited = upstream(&body);

        let asked = stream && !options.contains("true");
        let meant: Vec<(String, String)> = members(&body).into_iter().filter(|(key, _)| key != "\"metadata\"" && !(asked && key == "\"stream_options\"")).collect();
        let came: Vec<(String, String)> = members(&edited).into_iter().filter(|(key, _)| key != "\"metadata\"" && !(asked && key == "\"stream_options\"")).collect();
        let meant: Vec<_> = meant.into_iter().map(|(key, value)| if key == "\"model\"" { (key, "\"up/1\"".to_owned()) } else { (key, value) }).collect();
        prop_assert_eq!(came, meant);

        let value = |text: &str, key: &str| {
            let found: Vec<Value> = members(text).into_iter().filter(|(name, _)| name == key).map(|(_, value)| serde_json::from_str(&value).expect("JSON")).collect();
            assert!(found.len() < 2, "{text}");
            found.into_iter().next()
        };
        if asked {
            let mut expected = value(&body, "\"stream_options\"").filter(|value| !value.is_null()).unwrap_or_else(|| json!({}));
            expected["include_usage"] = json!(true);
            prop_assert_eq!(value(&edited, "\"stream_options\""), Some(expected));
        }
        let mut expected = value(&body, "\"metadata\"");
        if let Some(Value::Object(members)) = &mut expected {
            let ours = members.remove("pointsman_a").is_some();
            if ours && members.is_empty() { expected = None; }
        }
        prop_assert_eq!(value(&edited, "\"metadata\""), expected);
        if !asked && !metadata.contains("pointsman") {
            prop_assert_eq!(edited, body.replace("\"auto\"", "\"up/1\""));
        }
    }
}
