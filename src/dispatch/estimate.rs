//! Tokens counted here, for when the provider does not say: the client hung up, the stream broke, or usage is
//! something this provider never reports.

use bytes::Bytes;

use crate::chat::{Answer, ChatRequest, Endpoint, Usage};
use crate::dialect::openai::Assembly;

/// Texts are counted up to here; the rest by the same rate. Keeps a hang-up from costing more than the call.
const COUNTED: usize = 64 << 10;

/// Tokens that a message costs beside its text, by OpenAI's own recipe.
const PER_MESSAGE: u64 = 4;

/// Bytes of reasoning to a token; its text is not kept.
const BYTES_PER_TOKEN: usize = 4;

/// Fills in what is not reported. OpenAI's newest vocabulary stands in for all, and the first choice for every other:
/// theirs are not kept.
pub(super) fn fill(reported: Option<Usage>, endpoint: Endpoint, body: &Bytes, said: &Assembly) -> Usage {
    let mut usage = reported.unwrap_or_default();
    let request = ChatRequest::parse(endpoint, body.clone()).ok();
    usage.prompt_tokens = usage.prompt_tokens.or_else(|| request.as_ref().map(prompt));
    let choices = request.map_or(1, |request| u64::from(request.view.n.max(1)));
    usage.completion_tokens = usage.completion_tokens.or_else(|| Some(choices * completion(said)));
    usage
}

fn prompt(request: &ChatRequest) -> u64 {
    tokens(&request.view.text()) + PER_MESSAGE * request.view.messages.len() as u64
}

fn completion(said: &Assembly) -> u64 {
    let Answer { text, refusal, tool_calls, .. } = said.answer();
    let calls: u64 = tool_calls.iter().map(|call| tokens(&call.name) + tokens(&call.arguments)).sum();
    let hidden = said.reasoning_bytes().div_ceil(BYTES_PER_TOKEN) as u64;
    tokens(text) + refusal.as_deref().map_or(0, tokens) + calls + hidden
}

fn tokens(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let counted = &text[..text.floor_char_boundary(COUNTED)];
    let count = bpe_openai::o200k_base().count(counted) as u64;
    count * text.len() as u64 / counted.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_counted_by_its_beginning() {
        let short = tokens(&"points and switches ".repeat(1000));
        let long = tokens(&"points and switches ".repeat(100_000));
        assert!(long.abs_diff(100 * short) < short, "{short} {long}");
    }

    #[test]
    fn every_choice_is_paid_for() {
        let mut said = Assembly::default();
        said.read(None, br#"{"choices":[{"delta":{"content":"hello world"}}]}"#).expect("a chunk");
        let body = Bytes::from_static(br#"{"model":"a","n":3,"messages":[{"role":"user","content":"hello"}]}"#);
        let usage = fill(None, Endpoint::ChatCompletions, &body, &said);
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(5), Some(6)));
    }

    #[test]
    fn what_the_provider_reported_is_kept() {
        let reported = Usage { prompt_tokens: Some(7), cached_tokens: Some(3), ..Usage::default() };
        let mut said = Assembly::default();
        said.read(None, br#"{"choices":[{"delta":{"content":"hello world"}}]}"#).expect("a chunk");
        let usage = fill(Some(reported), Endpoint::ChatCompletions, &Bytes::new(), &said);
        assert_eq!(usage, Usage { completion_tokens: Some(2), ..reported });
    }
}
