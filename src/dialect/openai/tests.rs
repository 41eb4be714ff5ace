use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Assembly, Said, whole};
use crate::chat::{Answer, FinishReason, ToolCall, Usage};
use crate::dialect::sse::Parser;
use crate::dialect::{Class, Fault};

fn read(assembly: &mut Assembly, chunk: &Value) -> Result<Said, Fault> {
    assembly.read(None, chunk.to_string().as_bytes())
}

fn delta(delta: &Value) -> Value {
    json!({"id": "c1", "model": "m-1", "choices": [{"index": 0, "delta": delta}]})
}

#[test]
fn what_counts_as_content_and_what_does_not() {
    for no_content in [
        json!({"role": "assistant"}),
        json!({"role": "assistant", "content": ""}),
        json!({"content": null, "refusal": null, "tool_calls": []}),
        json!({}),
    ] {
        assert_eq!(read(&mut Assembly::default(), &delta(&no_content)), Ok(Said::Nothing), "{no_content}");
    }
    for content in [
        json!({"content": "x"}),
        json!({"refusal": "no"}),
        json!({"reasoning_content": "hm"}),
        json!({"reasoning": "hm"}),
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        json!({"content": [{"type": "text", "text": "x"}]}),
        json!({"tool_calls": [{"index": 0, "id": "t"}]}),
        json!({"function_call": {"name": "f"}}),
        json!({"audio": {"data": "x"}}),
    ] {
        assert_eq!(read(&mut Assembly::default(), &delta(&content)), Ok(Said::Content), "{content}");
    }
    let legacy = json!({"choices": [{"text": "x", "index": 0}]});
    assert_eq!(read(&mut Assembly::default(), &legacy), Ok(Said::Content));
}

#[test]
fn the_usage_chunk_is_told_from_the_others_in_both_forms() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    let mut assembly = Assembly::default();
    // A provider that reports usage all along is no reason to drop its chunks.
    let running = json!({"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": usage});
    assert_eq!(read(&mut assembly, &running), Ok(Said::Nothing));
    let last = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": usage});
    assert_eq!(read(&mut assembly, &last), Ok(Said::Content));
    for only in
        [json!({"choices": [], "usage": usage}), json!({"choices": [{"index": 0, "delta": {}}], "usage": usage})]
    {
        assert_eq!(read(&mut assembly, &only), Ok(Said::Usage), "{only}");
    }
    assert_eq!(assembly.read(None, b" [DONE]"), Ok(Said::Done));
}

#[test]
fn an_answer_is_put_together_from_its_chunks() {
    let mut assembly = Assembly::default();
    for chunk in [
        delta(&json!({"role": "assistant", "content": ""})),
        delta(&json!({"reasoning_content": "think"})),
        delta(&json!({"content": "Hel"})),
        delta(&json!({"content": "lo \u{1f600}"})),
        delta(&json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}]})),
        delta(&json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]})),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
        delta(&json!({"tool_calls": [{"index": 1, "function": {"arguments": {"already": "JSON"}}}]})),
        json!({"choices": [{"index": 1, "delta": {"content": "the other choice"}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ] {
        read(&mut assembly, &chunk).expect("a good chunk");
    }
    assert!(!assembly.is_complete(), "the other choice goes on");
    read(&mut assembly, &json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]})).expect("good");
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.25,
        "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 2}}});
    read(&mut assembly, &usage).expect("a good chunk");
    assert!(assembly.is_complete() && assembly.has_content());
    assert_eq!(assembly.reasoning_bytes(), 5);
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    assert_eq!(
        assembly.into_answer(),
        Answer {
            id: Some("c1".to_owned()),
            model: Some("m-1".to_owned()),
            text: "Hello \u{1f600}".to_owned(),
            refusal: None,
            tool_calls: vec![call("a", "f", r#"{"x":1}"#), call("b", "g", r#"{"already":"JSON"}"#)],
            finish_reason: Some(FinishReason::ToolCalls),
            usage: Some(Usage {
                prompt_tokens: Some(10),
                completion_tokens: Some(5),
                cached_tokens: Some(8),
                cache_write_tokens: None,
                reasoning_tokens: Some(2),
            }),
            reported_cost_usd: Some(0.25),
        }
    );
}

#[test]
fn tool_calls_without_an_index_are_told_apart_by_their_ids() {
    let mut assembly = Assembly::default();
    for call in [
        json!({"id": "a", "function": {"name": "f", "arguments": "{"}}),
        json!({"function": {"arguments": "}"}}),
        json!({"id": "b", "function": {"name": "g", "arguments": "{}"}}),
    ] {
        read(&mut assembly, &delta(&json!({"tool_calls": [call]}))).expect("a good chunk");
    }
    let calls: Vec<_> = assembly.answer().tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
    assert_eq!(calls, [("a", "{}"), ("b", "{}")]);
}

#[test]
fn cached_tokens_are_read_under_every_name() {
    for usage in [
        json!({"prompt_tokens_details": {"cached_tokens": 8}}),
        json!({"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2}),
        json!({"cache_read_input_tokens": 8.0}),
    ] {
        let body = json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage});
        let answer = whole(body.to_string().as_bytes()).expect("an answer").into_answer();
        assert_eq!(answer.usage.expect("reported").cached_tokens, Some(8), "{body}");
        assert_eq!(answer.usage.expect("reported").prompt_tokens, None, "unknown is not zero");
    }
}

#[test]
fn a_whole_answer_is_read_and_anything_else_is_not() {
    let body = json!({"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "refusal": "No."}, "finish_reason": "eos"}]});
    let answer = whole(body.to_string().as_bytes()).expect("an answer").into_answer();
    assert_eq!((answer.refusal.as_deref(), answer.usage), (Some("No."), None));
    assert_eq!(answer.finish_reason, Some(FinishReason::Other("eos".to_owned())));
    for (body, class) in [
        ("", Class::Protocol),
        ("{", Class::Protocol),
        ("<html>", Class::Protocol),
        ("{}", Class::Protocol),
        ("[]", Class::Protocol),
        (r#"{"choices":[]}"#, Class::Protocol),
        (r#"{"choices":[{"message":{"content":5}}]}"#, Class::Protocol),
        (r#"{"error":{"message":"busy","code":503}}"#, Class::Broken),
        (r#"{"error":{"message":"Rate limit","type":"rate_limit_error"},"choices":[]}"#, Class::RateLimited),
        (r#"[{"error":{"message":"busy","code":429}}]"#, Class::RateLimited),
        (r#"{"choices":[{"message":{"content":"half"},"finish_reason":"error"}]}"#, Class::Broken),
    ] {
        assert_eq!(whole(body.as_bytes()).expect_err(body).class, class, "{body}");
    }
}

#[test]
fn an_error_frame_is_an_error_in_every_form() {
    for (event, data, class) in [
        (None, r#"{"error":{"message":"x","type":"overloaded_error"}}"#, Class::Broken),
        (Some("error"), r#"{"message":"x","code":"rate_limit_exceeded"}"#, Class::RateLimited),
        (Some("error"), "oops", Class::Broken),
        (None, r#"{"object":"error","message":"x","code":429}"#, Class::RateLimited),
        (
            None,
            r#"{"choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":502,"message":"x"}}"#,
            Class::Broken,
        ),
        (None, r#"{"id":"c1","choices":[{"del"#, Class::Protocol),
    ] {
        assert_eq!(Assembly::default().read(event, data.as_bytes()).expect_err(data).class, class, "{data}");
    }
}

/// The bytes of a stream that says these pieces, and then reports its usage.
fn stream(pieces: &[String], end: &str) -> Vec<u8> {
    let said = pieces.iter().map(|piece| delta(&json!({"content": piece})));
    let tail = [
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
    ];
    let data = said.chain(tail).map(|chunk| chunk.to_string()).chain(["[DONE]".to_owned()]);
    data.flat_map(|data| ["data: ", &data, end, end].concat().into_bytes()).collect()
}

proptest! {
    #[test]
    fn an_answer_does_not_depend_on_where_its_stream_was_split(
        pieces in proptest::collection::vec(".{0,6}", 0..8),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let bytes = stream(&pieces, end);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let (mut parser, mut assembly) = (Parser::new(), Assembly::default());
        for pair in places.windows(2) {
            parser.push(Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]));
            while let Some(frame) = parser.advance().expect("short events") {
                assembly.read(None, &frame.data.expect("data")).expect("good chunks");
            }
        }
        prop_assert!(assembly.is_complete());
        prop_assert_eq!(&assembly.answer().text, &pieces.concat());
    }

    #[test]
    fn no_bytes_make_it_panic(data in ".{0,60}", name in prop::sample::select(vec![None, Some("error")])) {
        let _ = Assembly::default().read(name, data.as_bytes());
        let _ = whole(data.as_bytes());
    }
}
