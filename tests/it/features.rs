//! Features: the bundled prompts, the shipped artefact and its card, and the extractor over any request.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pointsman::chat::{ChatRequest, Endpoint};
use pointsman::embed::{DIMENSIONS, Embedding, Origin, hashing};
use pointsman::features::artefact::{Artefact, Tensors, sha256};
use pointsman::features::fit::{self, Vectors, typos};
use pointsman::features::heads::Input;
use pointsman::features::prompts::{self, Difficulty, Prompt, Split};
use pointsman::features::{CONTEXT, Extractor, Features};
use proptest::prelude::*;
use serde_json::json;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn vectors(prompts: &[Prompt]) -> Vectors {
    let bytes = fs::read(here("datasets/prompts/vectors.safetensors")).expect("the vectors are committed");
    Vectors::read(&bytes, prompts).expect("they are of these prompts; else run the training with --embed")
}

#[test]
fn every_prompt_is_named_and_sided_by_its_own_text() {
    let prompts = prompts::bundled();
    let mut ids: Vec<&str> = prompts.iter().map(|prompt| prompt.id.as_str()).collect();
    assert!(ids.is_sorted(), "the file is in the order of its ids");
    ids.dedup();
    assert_eq!(ids.len(), prompts.len(), "no text stands twice");
    for prompt in &prompts {
        assert_eq!(prompt.id, prompts::id(&prompt.prompt), "{}", prompt.prompt);
        assert_eq!(prompt.split, prompts::split(&prompt.id));
        assert!(!prompt.prompt.trim().is_empty() && prompt.language.len() == 2);
    }
}

#[test]
fn the_prompts_are_as_many_and_as_varied_as_their_page_says() {
    let prompts = prompts::bundled();
    let page = fs::read_to_string(here("datasets/prompts/README.md")).expect("the page is committed");
    let counts = prompts::counts(&prompts);
    assert!(page.contains(counts.trim()), "datasets/prompts/README.md should hold:\n{counts}");

    let of = |holds: &dyn Fn(&Prompt) -> bool| prompts.iter().filter(|prompt| holds(prompt)).count();
    assert!(prompts.len() >= 700);
    let intents = Artefact::shipped().manifest.intents;
    assert!(intents.len() >= 12);
    for intent in &intents {
        for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
            let count = of(&|prompt| prompt.intent == *intent && prompt.difficulty == difficulty);
            assert!(count >= 5, "{intent} {difficulty:?}: {count}");
        }
    }
    let held = of(&|prompt| prompt.split == Split::Heldout) as f64 / prompts.len() as f64;
    assert!((0.15..0.25).contains(&held), "{held}");
    assert!(of(&|prompt| prompt.prompt.split_whitespace().count() >= 250) >= 8, "some carry a whole document");
    assert!(of(&|prompt| prompt.prompt.contains("```")) >= 15, "some carry code");
}

#[test]
fn the_shipped_artefact_is_what_the_training_makes_of_the_prompts() {
    let prompts = prompts::bundled();
    let made = fit::train(&prompts, &vectors(&prompts)).expect("trains");
    let folder = here("models/features-v1");
    let shipped = |name: &str| fs::read(folder.join(name)).expect("the artefact is committed");
    let shipped_manifest = Artefact::shipped().manifest;
    for (name, bytes) in [("projection.safetensors", &made.projection), ("heads.safetensors", &made.heads)] {
        let ours = shipped(name);
        assert_eq!(sha256(&ours), shipped_manifest.sha256[name], "{name} is the file that the manifest names");
        assert_close(name, &ours, bytes);
    }
    assert_eq!(made.artefact().expect("reads").manifest.intents, shipped_manifest.intents);
}

/// Every number equal to within a hundred-thousandth of the greatest: linear algebra rounds differently from
/// processor to processor.
fn assert_close(file: &str, ours: &[u8], made: &[u8]) {
    let (ours, made) = (Tensors::of(ours).expect("reads"), Tensors::of(made).expect("reads"));
    assert_eq!(ours.names(), made.names());
    for (name, shape) in ours.names() {
        let (a, b) = (ours.read(&name, &shape).expect("reads"), made.read(&name, &shape).expect("reads"));
        let greatest = a.iter().fold(1e-3_f32, |greatest, x| greatest.max(x.abs()));
        let off = a.iter().zip(&b).fold(0.0_f32, |off, (x, y)| off.max((x - y).abs()));
        assert!(off <= 1e-5 * greatest, "{file} {name}: off by {off}, greatest {greatest}; run the training again");
    }
}

#[test]
fn the_card_says_what_is_measured() {
    let prompts = prompts::bundled();
    let card = fs::read_to_string(here("models/features-v1/README.md")).expect("the card is committed");
    assert_eq!(card, fit::card(&Artefact::shipped(), &prompts, &vectors(&prompts)), "run the training again");
}

#[test]
fn a_damaged_artefact_is_refused_by_name() {
    let folder = here("models/features-v1");
    let read = |name: &str| fs::read(folder.join(name)).expect("the artefact is committed");
    let manifest = fs::read_to_string(folder.join("manifest.toml")).expect("the manifest is committed");
    let mut projection = read("projection.safetensors");
    *projection.last_mut().expect("not empty") ^= 1;
    let wrong = Artefact::read(&manifest, &projection, &read("heads.safetensors")).expect_err("one bit differs");
    assert!(wrong.to_string().starts_with("projection.safetensors: its SHA-256 is"), "{wrong}");
}

#[test]
fn most_intents_survive_slips_of_the_finger() {
    let heads = Artefact::shipped().heads;
    let intent = |text: &str| heads.intent(&Input::of(text, None)).expect("there is a head").name;
    let held: Vec<Prompt> = prompts::bundled().into_iter().filter(|prompt| prompt.split == Split::Heldout).collect();
    let kept = held.iter().filter(|p| intent(&p.prompt) == intent(&typos::mistype(&p.prompt, 1))).count();
    let share = kept as f64 / held.len() as f64;
    println!("lexical intent unchanged under typos: {share:.3} of {}", held.len());
    assert!(share > 0.8, "{share}");
}

fn request(body: &serde_json::Value) -> ChatRequest {
    ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from(body.to_string())).expect("a valid request")
}

fn assert_sound(features: &Features, schema: &Extractor) {
    assert_eq!(features.context.x.len(), CONTEXT);
    assert_eq!(features.context.x[0], 1.0);
    assert!(features.context.x.iter().all(|x| x.is_finite()), "{:?}", features.context.x);
    assert_eq!(&features.context.schema, schema.schema());
    let intent = features.intent.as_ref().expect("a head is loaded");
    assert!((0.0..=1.0).contains(&intent.probability));
    assert!((0.0..=1.0).contains(&features.complexity.expect("a head is loaded")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn there_are_features_for_every_request(
        texts in prop::collection::vec("(\\PC|[a-z \n`{}0-9]){0,400}", 1..4),
        numbers in prop::collection::vec(prop_oneof![-2.0_f32..2.0, Just(f32::NAN), Just(f32::MAX)], 0..3),
        full in any::<bool>(),
    ) {
        let extractor = Extractor::new();
        let messages: Vec<_> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let request = request(&json!({"model": "auto", "messages": messages}));
        let mut vector = numbers;
        if full {
            vector.resize(DIMENSIONS, 0.05);
        }
        for origin in [Origin::Encoder, Origin::Lexical] {
            let embedding = Embedding { vector: vector.as_slice().into(), origin };
            assert_sound(&extractor.extract(&request, Some(&embedding)), &extractor);
        }
        let without = extractor.extract(&request, None);
        assert_sound(&without, &extractor);
        prop_assert_eq!(without.context.origin, Origin::Lexical);
        prop_assert_eq!(&without, &extractor.extract(&request, Some(&hashing::embed(request.prompt()))));
    }
}

#[test]
fn a_megabyte_is_read_like_any_text() {
    let extractor = Extractor::new();
    let body = "The ferry leaves at noon, unless the wind is from the west. ".repeat(18_000);
    let features =
        extractor.extract(&request(&json!({"model": "auto", "messages": [{"role": "user", "content": body}]})), None);
    assert_sound(&features, &extractor);
    let expected = 18_000.0 * 14.0;
    let counted = f64::from(features.needs.prompt_tokens);
    assert!((counted / expected - 1.0).abs() < 0.1, "{counted}");
    assert_eq!(features.language.as_deref(), Some("eng"));
}

#[test]
fn needs_are_read_off_the_body() {
    let extractor = Extractor::new();
    let weather = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let body = json!({
        "model": "auto",
        "n": 2,
        "logprobs": true,
        "max_tokens": 77,
        "tools": [weather],
        "response_format": {"type": "json_schema", "json_schema": {"name": "town", "schema": {"type": "object"}}},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Which town is this?"}, image]},
        ],
    });
    insta::assert_json_snapshot!(extractor.extract(&request(&body), None).needs);
}
