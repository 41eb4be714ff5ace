//! What reading a request costs: the whole of it, and its parts.
//!
//! `cargo bench --bench features`. The prompt has 32 tokens and its vector is known, as when it was seen before.

use bytes::Bytes;
use divan::{Bencher, black_box};
use pointsman::chat::{ChatRequest, Endpoint};
use pointsman::embed::{Embedding, Origin, hashing};
use pointsman::features::artefact::Artefact;
use pointsman::features::heads::Input;
use pointsman::features::tokens::Vocabulary;
use pointsman::features::{Extractor, language, needs};

fn main() {
    divan::main();
}

const PROMPT: &str = "Write a query that finds customers who bought in January but not in February, and say which \
                      index would help. The table is called purchases.";

fn vector() -> Embedding {
    Embedding { vector: hashing::embed(PROMPT).vector, origin: Origin::Encoder }
}

fn request(prompt: &str) -> ChatRequest {
    let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
    ChatRequest::parse(Endpoint::ChatCompletions, Bytes::from(body.to_string())).expect("a valid request")
}

#[divan::bench]
fn extract_with_a_known_vector(bencher: Bencher<'_, '_>) {
    let (extractor, request, vector) = (Extractor::new(), request(PROMPT), vector());
    bencher.bench_local(|| extractor.extract(black_box(&request), Some(&vector)));
}

#[divan::bench]
fn extract_without_the_encoder(bencher: Bencher<'_, '_>) {
    let (extractor, request) = (Extractor::new(), request(PROMPT));
    bencher.bench_local(|| extractor.extract(black_box(&request), None));
}

#[divan::bench]
fn extract_of_a_megabyte(bencher: Bencher<'_, '_>) {
    let (extractor, request, vector) = (Extractor::new(), request(&PROMPT.repeat(7_500)), vector());
    bencher.bench_local(|| extractor.extract(black_box(&request), Some(&vector)));
}

#[divan::bench]
fn projection(bencher: Bencher<'_, '_>) {
    let (projection, vector) = (Artefact::shipped().projection, vector());
    bencher.bench_local(|| projection.project(black_box(&vector)));
}

#[divan::bench]
fn both_heads(bencher: Bencher<'_, '_>) {
    let (heads, vector) = (Artefact::shipped().heads, vector());
    bencher.bench_local(|| {
        let input = Input::of(black_box(PROMPT), Some(&vector.vector));
        (heads.intent(&input), heads.complexity(&input))
    });
}

#[divan::bench]
fn detect_the_language() -> Option<String> {
    language::language(black_box(PROMPT))
}

#[divan::bench]
fn read_the_needs(bencher: Bencher<'_, '_>) {
    let (request, _) = (request(PROMPT), Vocabulary::O200k.count(PROMPT));
    bencher.bench_local(|| needs::needs(black_box(&request)));
}
