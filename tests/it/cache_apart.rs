//! No answer ever crosses a border: a fuzz over requests, both tiers.
//!
//! A population of requests is drawn from few and spiteful parts: names that run together when they are joined, texts
//! that look like fields, tenants and separators, the same body written in other ways. Of each request it is known from
//! its parts, and not from its JSON, what it asks for. Then *all pairs* are held against that: two requests have one
//! exact key if and only if they ask for the same, and one namespace if and only if they differ in the user's last words
//! at most. At last every prompt is put into a cache under one and the same vector, the worst that an encoder could do,
//! and each request looks for an answer: what it finds was asked for in its own namespace.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use pointsman::base::{TenantId, Timestamp};
use pointsman::cache::semantic::quantised::Fine;
use pointsman::cache::semantic::space::Prompt;
use pointsman::cache::{self, Cache, Config, Entry, Key, Place, Scope, SemanticConfig};
use pointsman::chat::{Answer, ChatRequest, Endpoint, FinishReason};
use pointsman::embed::DIMENSIONS;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Requests of one population: 1,000,405 pairs.
const REQUESTS: usize = 1_415;

const TENANTS: [&str; 6] = ["red", "redb", "lue", "blue", "re", ""];
const MODELS: [&[&str]; 5] = [&["a"], &["a", "b"], &["ab"], &["b"], &["a", "b", "ab"]];
const PREFERENCES: [&str; 3] = ["", "cheap", "[\"auto\",{}]"];
const ENCODERS: [&str; 2] = ["minilm", "minilm-2"];
const FORMATS: [&str; 3] = [
    r#"{"type":"json_object"}"#,
    r#"{"type":"text"}"#,
    r#"{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}}"#,
];
const TOOLS: [&str; 3] = [
    "[]",
    r#"[{"type":"function","function":{"name":"f","parameters":{}}}]"#,
    r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
];
const OTHERS: [(&str, &str); 8] = [
    ("temperature", "0"),
    ("temperature", "0.2"),
    ("max_tokens", "7"),
    ("max_tokens", "70"),
    ("stop", "\"x\""),
    ("stop", "[\"x\"]"),
    ("user", "\"blue\""),
    ("seed", "12345678901234567890123"),
];
const TEXTS: [&str; 9] = [
    "What is a kiln",
    "What is a kiln?",
    "what is a kiln",
    "tenant: blue\nWhat is a kiln",
    "What is a kiln\",\"user\":\"blue",
    "?",
    "\u{0}encoder",
    "red",
    "[{\"role\":\"system\",\"content\":\"Be brief.\"}]",
];
const SYSTEMS: [&str; 5] = ["Be brief.", "Be brief. ", "be brief.", "tenant: blue", "What is a kiln"];

/// What a request asks for, in parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    place: Around,
    /// The user's last words, and whether they come as a list of parts.
    last: (String, bool),
}

/// All that shapes the answer but the last words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Around {
    tenant: &'static str,
    models: &'static [&'static str],
    preferences: &'static str,
    generation: u64,
    system: Option<String>,
    /// What was said before, by the user and the model.
    before: Option<(String, String)>,
    format: Option<&'static str>,
    tools: Option<&'static str>,
    other: Option<(&'static str, &'static str)>,
    /// Of the namespace alone.
    encoder: &'static str,
}

fn text(fixed: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![4 => select(fixed).prop_map(str::to_owned), 1 => "[ab:\"\u{0}é ]{0,3}"]
}

fn asked() -> impl Strategy<Value = Asked> {
    let whose = (select(&TENANTS[..]), select(&MODELS[..]), select(&PREFERENCES[..]), 0..2_u64, select(&ENCODERS[..]));
    let before = proptest::option::weighted(0.2, (text(&TEXTS), text(&TEXTS)));
    let said = (proptest::option::of(text(&SYSTEMS)), before, text(&TEXTS), any::<bool>());
    let shaped = (
        proptest::option::weighted(0.3, select(&FORMATS[..])),
        proptest::option::weighted(0.3, select(&TOOLS[..])),
        proptest::option::weighted(0.4, select(&OTHERS[..])),
    );
    (whose, said, shaped).prop_map(|(whose, (system, before, last, parts), (format, tools, other))| {
        let (tenant, models, preferences, generation, encoder) = whose;
        let place = Around { tenant, models, preferences, generation, system, before, format, tools, other, encoder };
        Asked { place, last: (last, parts) }
    })
}

/// The request's body, in one of several spellings of the same.
fn body(asked: &Asked, spelling: usize) -> String {
    let message = |role: &str, content: Value| json!({"role": role, "content": content});
    let Around { system, before, format, tools, other, .. } = &asked.place;
    let mut messages: Vec<Value> = system.iter().map(|system| message("system", json!(system))).collect();
    if let Some((user, model)) = before {
        messages.extend([message("user", json!(user)), message("assistant", json!(model))]);
    }
    let (last, in_parts) = &asked.last;
    let content = if *in_parts { json!([{"type": "text", "text": last}]) } else { json!(last) };
    messages.push(message("user", content));
    let mut fields = vec![
        ("model", json!("auto").to_string()),
        ("messages", serde_json::to_string(&messages).expect("JSON")),
        ("stream", spelling.is_multiple_of(2).to_string()),
    ];
    fields.extend(format.map(|format| ("response_format", format.to_owned())));
    fields.extend(tools.map(|tools| ("tools", tools.to_owned())));
    fields.extend(other.map(|(name, value)| (name, value.to_owned())));
    let count = fields.len();
    fields.rotate_left(spelling % count);
    let space = ["", " ", "\n\t"][spelling % 3];
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{value}")).collect();
    format!("{{{}{space}}}", fields.join(","))
}

/// The request's exact key and its namespace.
fn names(asked: &Asked, spelling: usize) -> (Key, Key) {
    let Around { tenant, models, preferences, generation, encoder, .. } = asked.place;
    let request = ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from(body(asked, spelling)));
    let request = request.unwrap_or_else(|error| panic!("{error}: {}", body(asked, spelling)));
    let scope = Scope { tenant: &TenantId::from(tenant), models, preferences: preferences.as_bytes(), generation };
    let (key, space) = cache::names(&scope, &request, Some(encoder)).expect("one meaning");
    (key, space.expect("the last words are one text"))
}

/// Holds every pair of a population to this: equal names if and only if equal parts.
fn agree<N: Eq + std::hash::Hash + Copy, P: Eq + std::hash::Hash>(pairs: &[(N, P)]) -> Result<(), TestCaseError> {
    let mut by_name: HashMap<N, usize> = HashMap::new();
    let mut by_parts: HashMap<&P, usize> = HashMap::new();
    for (at, (name, parts)) in pairs.iter().enumerate() {
        let (one, other) = (*by_name.entry(*name).or_insert(at), *by_parts.entry(parts).or_insert(at));
        prop_assert_eq!(
            one,
            other,
            "request {} is one with another that asks for something else, or not with its like",
            at
        );
    }
    Ok(())
}

fn entry(tenant: &str) -> Entry {
    Entry {
        tenant: TenantId::from(tenant),
        body: Bytes::from_static(b"{}"),
        answer: Answer { text: "x".to_owned(), finish_reason: Some(FinishReason::Stop), ..Answer::default() },
        made: Timestamp(1),
        deployment: "a@here".into(),
        model: "a".into(),
        cost: None,
        took: Duration::ZERO,
        tags: Vec::new(),
        space: OnceLock::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn among_a_million_pairs_no_two_share_an_answer_that_should_not(
        population in proptest::collection::vec((asked(), 0..12_usize), REQUESTS)
    ) {
        let named: Vec<(Key, Key)> = population.iter().map(|(asked, spelling)| names(asked, *spelling)).collect();
        // The encoder names a namespace and no exact key.
        let exact: Vec<_> = population.iter().zip(&named).map(|((asked, _), (key, _))| {
            let place = Around { encoder: "", ..asked.place.clone() };
            (*key, Asked { place, last: asked.last.clone() })
        }).collect();
        agree(&exact)?;
        let spaces: Vec<_> = population.iter().zip(&named).map(|((asked, _), (_, space))| (*space, &asked.place)).collect();
        agree(&spaces)?;

        let semantic = SemanticConfig { max_wrong: Some(0.05), ..SemanticConfig::default() };
        let cache = Cache::new(Config { semantic, ..Config::default() });
        let vector: Vec<f32> = (0..DIMENSIONS).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
        let mut asked_by: HashMap<Key, Vec<&Asked>> = HashMap::new();
        for ((asked, _), (key, space)) in population.iter().zip(&named) {
            prop_assert_eq!(Key::read(&key.to_string()), Some(*key));
            asked_by.entry(*key).or_default().push(asked);
            let tenant = asked.place.tenant;
            cache.put(*key, entry(tenant));
            let place = Place { space: *space, tenant: TenantId::from(tenant), about: String::new() };
            let prompt = Prompt {
                key: *key,
                made: Timestamp(1),
                text: Arc::from(asked.last.0.as_str()),
                vector: Fine::of(&vector).expect("a vector"),
                distinct: false,
            };
            cache.place(place, prompt);
        }
        let mut found = 0;
        for ((asked, _), (_, space)) in population.iter().zip(&named) {
            let looked = cache.look_up(space, &asked.last.0, &vector, 0.99, Timestamp(2));
            if let Some(candidate) = looked.and_then(|looked| looked.candidate) {
                // One exact key may have been placed by an equal request under another encoder.
                let by = &asked_by[&candidate.key];
                prop_assert!(by.iter().any(|one| one.place == asked.place), "{asked:?} found {by:?}");
                found += 1;
            }
        }
        prop_assert!(found > REQUESTS / 20, "only {found} found anything: the population is no test");
    }
}
