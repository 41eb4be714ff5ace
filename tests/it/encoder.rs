//! The encoder on its real weights, against the reference that sentence-transformers computed
//! (`training/encoder_reference.py`). The weights are fetched by the product's own code; a machine that can fetch
//! them from nowhere fails here, with the sentence that says what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pointsman::embed::sources::{self, Files, Manifest, Place};
use pointsman::embed::{Config, DIMENSIONS, Embedder, Encoder, Form, LoadError, Origin, Progress, Status, Workers};

fn quiet() -> Progress {
    Arc::new(|_| ())
}

static FILES: LazyLock<Files> =
    LazyLock::new(|| sources::find(&Config::default(), &quiet()).unwrap_or_else(|error| panic!("{error}")));

/// Every form this processor can compute MiniLM in.
static ENCODERS: LazyLock<Vec<Encoder>> = LazyLock::new(|| {
    let forms = Form::of_files(&FILES).expect("the pinned files have a known shape");
    forms.into_iter().map(|form| Encoder::of(&FILES, &Config::default(), Some(form)).expect("it loads")).collect()
});

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder").join(name)
}

fn texts() -> Vec<String> {
    serde_json::from_slice(&fs::read(fixture("texts.json")).expect("the fixture is there")).expect("a list of texts")
}

fn reference() -> Vec<Vec<f32>> {
    let bytes = fs::read(fixture("reference.f32")).expect("the fixture is there");
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    numbers.chunks_exact(DIMENSIONS).map(<[f32]>::to_vec).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn embed_all(encoder: &Encoder, texts: &[String]) -> Vec<Vec<f32>> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    encoder.embed_batch(&texts).expect("every text has a vector")
}

#[test]
fn every_form_gives_the_vectors_of_the_reference() {
    let (texts, reference) = (texts(), reference());
    assert_eq!((texts.len(), reference.len()), (200, 200));
    for encoder in ENCODERS.iter() {
        let vectors = embed_all(encoder, &texts);
        let cosines: Vec<f64> = vectors.iter().zip(&reference).map(|(a, b)| cosine(a, b)).collect();
        let worst = cosines.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).expect("not empty");
        println!("{}: least cosine {:.7} (text {})", encoder.form(), worst.1, worst.0);
        let bar = if encoder.form().is_exact() { 0.999_999 } else { 0.9999 };
        assert!(*worst.1 >= bar, "{}: text {} has {}", encoder.form(), worst.0, worst.1);
        for vector in &vectors {
            assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn a_text_has_the_same_vector_alone_and_in_company() {
    let texts = texts();
    let short: Vec<&String> = texts.iter().filter(|text| text.len() < 120).take(40).collect();
    for encoder in ENCODERS.iter() {
        for company in short.chunks(7) {
            let tokens: Vec<Vec<u32>> = company.iter().map(|text| encoder.tokens(text).unwrap()).collect();
            let together = encoder.forward(&tokens).unwrap();
            for (tokens, vector) in tokens.iter().zip(&together) {
                let alone = encoder.forward(std::slice::from_ref(tokens)).unwrap();
                assert_eq!(&alone[0], vector, "{}", encoder.form());
            }
        }
        assert!(encoder.forward(&[]).unwrap().is_empty());
    }
}

#[test]
fn every_length_of_text_is_computed_alike_by_every_form() {
    let exact = ENCODERS.iter().find(|encoder| encoder.form() == Form::Stock).expect("always available");
    let words: Vec<u32> = exact.tokens(&"signal box at the junction ".repeat(60)).unwrap();
    // All remainders of every block size, and the longest.
    for length in (3..=50).chain([63, 64, 65, 127, 255, 256]) {
        let tokens = [words[..length].to_vec()];
        let expected = exact.forward(&tokens).unwrap();
        for encoder in ENCODERS.iter() {
            let found = cosine(&expected[0], &encoder.forward(&tokens).unwrap()[0]);
            assert!(found > 0.9999, "{} at {length} tokens: {found}", encoder.form());
        }
    }
}

#[test]
fn long_texts_are_read_up_to_the_limit() {
    let encoder = &ENCODERS[0];
    let long = "word ".repeat(200_000);
    assert_eq!(encoder.tokens(&long).unwrap().len(), 256);
    assert_eq!(encoder.tokens("").unwrap(), [101, 102]);
    let config = Config { max_tokens: 16, ..Config::default() };
    let narrow = Encoder::of(&FILES, &config, None).unwrap();
    let tokens = narrow.tokens(&long).unwrap();
    assert_eq!((tokens.len(), tokens[0], tokens[15]), (16, 101, 102));
}

#[test]
fn cosines_agree_with_those_of_the_cache_study_where_it_is_at_hand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets/semcache");
    let read = |name: &str| {
        let packed = fs::File::open(folder.join(name)).ok()?;
        std::io::read_to_string(flate2::read::GzDecoder::new(packed)).ok()
    };
    let Some(oracle) = read("minilm-cosines.json.gz") else { return };
    let oracle: std::collections::BTreeMap<String, Vec<f64>> = serde_json::from_str(&oracle).expect("cosines by suite");
    for suite in ["banking94", "finance-traps", "general-traps"] {
        let rows = read(&format!("{suite}.jsonl.gz")).expect("the suite stands beside its cosines");
        let pairs: Vec<[String; 2]> = rows
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).expect("a row");
                ["text_a", "text_b"].map(|side| row[side].as_str().expect("a text").to_owned())
            })
            .collect();
        let vectors = embed_all(&ENCODERS[0], &pairs.concat());
        let off = vectors.chunks_exact(2).zip(&oracle[suite]).map(|(pair, c)| (cosine(&pair[0], &pair[1]) - c).abs());
        let worst = off.fold(0.0, f64::max);
        println!("{suite}: {} pairs, largest difference {worst:.5}", pairs.len());
        assert!(worst < 2e-3, "{suite}: {worst}");
    }
}

fn workers(config: &Config) -> Workers {
    Workers::with(Encoder::of(&FILES, config, None).expect("it loads"), config).expect("threads start")
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn many_callers_get_the_vectors_they_asked_for() {
    let workers = Arc::new(workers(&Config { queue: 1000, ..Config::default() }));
    let texts: Vec<String> = texts().into_iter().filter(|text| text.len() < 400).collect();
    let expected = embed_all(&ENCODERS[0], &texts);
    let asked = (0..3).flat_map(|_| texts.iter().cloned().enumerate()).map(|(i, text)| {
        let workers = Arc::clone(&workers);
        async move { (i, workers.embed(&text, LONG).await) }
    });
    for (i, embedding) in futures::future::join_all(asked).await {
        let embedding = embedding.expect("there is time and room");
        assert_eq!(embedding.origin, Origin::Encoder);
        assert_eq!(embedding.vector.as_ref(), expected[i].as_slice(), "text {i}");
    }
}

#[tokio::test]
async fn a_text_that_comes_alone_has_the_same_vector_whoever_helped_with_it() {
    let workers = workers(&Config { workers: Some(3), ..Config::default() });
    for times in [1, 3, 4, 5, 6, 7, 13, 50] {
        let text = "signal box at the junction ".repeat(times);
        let found = workers.embed(&text, LONG).await.expect("there is time");
        assert_eq!(found.vector.as_ref(), embed_all(&ENCODERS[0], &[text])[0].as_slice());
    }
}

#[tokio::test]
async fn a_text_seen_lately_comes_at_once() {
    let workers = workers(&Config::default());
    let first = workers.embed("the points are set", LONG).await.expect("there is time");
    let again = workers.embed("the points are set", Duration::ZERO).await.expect("it is remembered");
    assert!(Arc::ptr_eq(&first.vector, &again.vector));
}

#[tokio::test]
async fn one_text_asked_for_by_many_is_computed_once() {
    let workers = workers(&Config { workers: Some(1), ..Config::default() });
    let all = futures::future::join_all((0..20).map(|_| workers.embed("who goes there?", LONG))).await;
    let vectors: Vec<_> = all.into_iter().map(|one| one.expect("there is time").vector).collect();
    assert!(vectors.iter().all(|vector| Arc::ptr_eq(vector, &vectors[0])));
}

#[tokio::test]
async fn beyond_the_queue_there_is_no_vector_and_no_wait() {
    let workers = workers(&Config { workers: Some(1), queue: 2, ..Config::default() });
    let texts: Vec<String> = (0..40).map(|i| format!("{i} {}", "a long text ".repeat(150))).collect();
    let asked = futures::future::join_all(texts.iter().map(|text| workers.embed(text, LONG))).await;
    let served = asked.iter().flatten().count();
    // All were asked for before the first could be ready: the queue's two, and as many as the worker took meanwhile.
    assert!((2..40).contains(&served), "{served}");
    assert!(workers.embed(&texts[39], LONG).await.is_some(), "afterwards there is room again");
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_nothing_behind() {
    let workers = workers(&Config { workers: Some(1), queue: 3, ..Config::default() });
    for i in 0..50 {
        let text = format!("{i} {}", "too late ".repeat(200));
        assert!(workers.embed(&text, Duration::ZERO).await.is_none());
        drop(workers.embed(&text, LONG));
    }
    // Given up texts may still stand in the queue; the worker strikes them when it comes to them.
    while workers.embed("now", LONG).await.is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn serving_starts_before_the_weights_are_read() {
    let folder = FILES.folder.clone();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let progress: Progress = Arc::new(move |_| drop(wait.lock().map(|wait| wait.recv())));
    let config = Config { folder: Some(folder), ..Config::default() };
    let embedder = pointsman::embed::load(&config, progress).expect("the settings are sound");
    assert_eq!(embedder.status(), Status::Loading);
    assert!(embedder.embed("early", LONG).await.is_none());
    drop(go);
    assert_eq!(embedder.settled().await, Status::Ready);
    assert!(embedder.embed("early", LONG).await.is_some());
    assert_eq!(embedder.id(), "all-MiniLM-L6-v2@53aa5117");
}

#[tokio::test]
async fn an_encoder_that_is_nowhere_says_where_it_was_looked_for() {
    let empty = tempfile::tempdir().expect("a folder");
    let config =
        Config { model: "someone/other".into(), folder: Some(empty.path().to_path_buf()), ..Config::default() };
    let embedder = pointsman::embed::load(&config, quiet()).expect("the settings are sound");
    let Status::Failed(reason) = embedder.settled().await else { panic!("there is nothing to load") };
    let reason = reason.replace(&empty.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(reason);
    assert!(embedder.embed("hello", LONG).await.is_none());
}

#[test]
fn changed_bytes_are_refused_whatever_the_source() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in [("config.json", &FILES.config), ("tokenizer.json", &FILES.tokenizer)] {
        fs::write(folder.path().join(name), bytes).expect("it is written");
    }
    let mut weights = FILES.weights.clone();
    weights[50_000_000] ^= 1;
    fs::write(folder.path().join("model.safetensors"), &weights).expect("it is written");

    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let steps = Arc::clone(&seen);
    let progress: Progress = Arc::new(move |step| steps.lock().expect("no panic").push(format!("{step:?}")));
    let config = Config { folder: Some(folder.path().to_path_buf()), ..Config::default() };
    let found = sources::find(&config, &progress).expect("the next place has them");
    assert_ne!(found.folder, folder.path());
    let refused =
        seen.lock().expect("no panic").iter().any(|step| step.contains("SHA-256 is") && step.contains("Passed"));
    assert!(refused, "{seen:?}");
}

#[test]
fn places_are_tried_in_order_and_offline_means_offline() {
    let config = Config { folder: Some("/models/mine".into()), ..Config::default() };
    let kept = sources::kept_folder(Manifest::of(&config.model).expect("pinned")).expect("there is a home");
    let here = [Place::Folder("/models/mine".into()), Place::Kept(kept), Place::HubCache];
    let online = sources::places(&config);
    assert_eq!(online[..3], here);
    assert!(matches!(online[3..], [Place::Hub, Place::Package(_)]));
    assert_eq!(sources::places(&Config { offline: true, ..config.clone() }), here);
    let other = Config { model: "someone/other".into(), folder: None, ..config };
    assert_eq!(sources::places(&other), [Place::HubCache, Place::Hub]);
}

#[test]
fn other_encoders_run_and_those_that_cannot_are_refused_in_words() {
    let config = Config { model: "someone/other".into(), ..Config::default() };
    let with = |shape: &str, pooling: Option<&str>| Files {
        config: shape.as_bytes().to_vec(),
        tokenizer: FILES.tokenizer.clone(),
        weights: FILES.weights.clone(),
        pooling: pooling.map(|text| text.as_bytes().to_vec()),
        folder: PathBuf::new(),
        place: Place::HubCache,
    };
    let shape = String::from_utf8(FILES.config.clone()).expect("text");

    // The same network, but its first token speaks for the text.
    let first = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    let encoder = Encoder::of(&with(&shape, Some(first)), &config, None).expect("it loads");
    let vector = &encoder.embed_batch(&["hello"]).expect("it encodes")[0];
    let mean = &ENCODERS[0].embed_batch(&["hello"]).expect("it encodes")[0];
    assert!(cosine(vector, mean) < 0.99);
    assert_eq!(encoder.id(), "someone/other");

    let refused = |files: &Files| match Encoder::of(files, &config, None) {
        Err(LoadError::Unfit { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    };
    insta::assert_snapshot!(
        [
            refused(&with(&shape.replace("\"hidden_size\": 384", "\"hidden_size\": 768"), None)),
            refused(&with(&shape.replace("\"model_type\": \"bert\"", "\"model_type\": \"t5\""), None)),
            refused(&with(&shape.replace("\"vocab_size\": 30522", "\"vocab_size\": 30000"), None)),
            refused(&with("{}", None)),
            refused(&with(&shape, Some("{}"))),
        ]
        .join("\n")
    );
}
