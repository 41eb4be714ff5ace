//! What a request costs before and beside the network: reading its body, editing it, reading a stream on its way by.
//!
//! `cargo bench --bench dispatch`. Allocations are counted.

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use pointsman::chat::{ChatRequest, Endpoint};
use pointsman::dialect::openai::Assembly;
use pointsman::dialect::sse::Parser;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// A body whose prompt is about this many bytes, with line feeds and quotes to unescape.
fn body(prompt: usize) -> Bytes {
    let text = "Why is the sky \\\"blue\\\"?\\nPlease explain it in simple words. ".repeat(prompt / 60 + 1);
    let body = format!(
        r#"{{"model":"auto","stream":true,"temperature":0.7,"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{text}"}}]}}"#
    );
    body.into()
}

#[divan::bench(args = [1 << 10, 64 << 10, 5 << 20])]
fn read_a_body(bencher: Bencher<'_, '_>, prompt: usize) {
    let body = body(prompt);
    bencher.bench(|| ChatRequest::parse(Endpoint::ChatCompletions, black_box(body.clone())).expect("a good body"));
}

#[divan::bench(args = [1 << 10, 64 << 10])]
fn edit_a_body(bencher: Bencher<'_, '_>, prompt: usize) {
    let request = ChatRequest::parse(Endpoint::ChatCompletions, body(prompt)).expect("a good body");
    bencher.bench(|| request.upstream_body(black_box("provider/model")));
}

/// A stream of 23 events, each in a chunk of its own.
fn stream() -> Vec<Bytes> {
    let chunk = |delta: &str| {
        let event = format!(
            "data: {{\"id\":\"chatcmpl-123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5-mini\",\"system_fingerprint\":\"fp_1\",\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        );
        Bytes::from(event)
    };
    let mut events = vec![chunk("\"role\":\"assistant\",\"content\":\"\"")];
    events.extend((0..20).map(|_| chunk("\"content\":\" railway\"")));
    events.push(Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

#[divan::bench]
fn read_a_stream_of_23_events(bencher: Bencher<'_, '_>) {
    let events = stream();
    bencher.bench(|| {
        let (mut parser, mut assembly) = (Parser::new(), Assembly::default());
        let mut forwarded = 0;
        for event in &events {
            parser.push(black_box(event.clone()));
            while let Some(frame) = parser.advance().expect("short events") {
                assembly.read(frame.event.as_deref(), &frame.data.expect("data")).expect("good chunks");
            }
            forwarded += parser.take().len();
        }
        (assembly, forwarded)
    });
}
