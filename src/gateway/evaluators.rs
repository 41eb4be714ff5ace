//! What an answer tells about itself: checks that need no judge. Each is a channel with a score; one that does not
//! apply to the request or the answer is absent, not 1.
//!
//! | channel | applies when | score |
//! |---|---|---|
//! | `format` | JSON was asked for and no tool was called | 1 if the text is a JSON object (or any JSON under a schema) |
//! | `schema` | a schema was given that can be read, and the text is JSON | 1 if the text satisfies it |
//! | `tools` | tools were called | share of the calls with a known name and arguments that parse and satisfy the parameters |
//! | `truncation` | the reason of the end is known, and the caller's own cap is not tiny | 0 if the output limit cut the answer |
//! | `refusal` | there is text, a refusal, or a content filter | 0 if the answer declines |
//! | `empty` | always | 0 if there is neither text nor a tool call nor a refusal |
//!
//! Pure, and run after the last byte has gone out.

use serde_json::Value;

use crate::base::Score;
use crate::chat::{Answer, FinishReason, ResponseFormat, Tool, View};
use crate::ledger::ScoreRecord;

/// The channels that the evaluators speak in; nobody else may.
pub const CHANNELS: [&str; 6] = ["format", "schema", "tools", "truncation", "refusal", "empty"];

/// A cap below this many tokens is a caller who wants a word, not an answer: running into it says nothing.
const TINY_CAP: u32 = 64;
/// A text that declines does it in its first characters; a longer look would find novels in which somebody declines.
const LOOK: usize = 240;

/// The scores of this answer.
#[must_use]
pub(super) fn evaluate(view: &View, answer: &Answer) -> Vec<ScoreRecord> {
    let scores = [
        format(view, answer),
        schema(view, answer),
        tools(view, answer),
        truncation(view, answer),
        refusal(answer),
        Some(yes(!answer.text.trim().is_empty() || !answer.tool_calls.is_empty() || answer.refusal.is_some())),
    ];
    CHANNELS
        .into_iter()
        .zip(scores)
        .filter_map(|(channel, score)| Some(ScoreRecord { channel: channel.to_owned(), score: score? }))
        .collect()
}

fn yes(good: bool) -> Score {
    if good { Score::ONE } else { Score::ZERO }
}

fn format(view: &View, answer: &Answer) -> Option<Score> {
    if !answer.tool_calls.is_empty() || answer.refusal.is_some() {
        return None;
    }
    let parsed = serde_json::from_str::<Value>(&answer.text);
    match view.response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(yes(parsed.is_ok_and(|value| value.is_object()))),
        ResponseFormat::JsonSchema(_) => Some(yes(parsed.is_ok())),
    }
}

fn schema(view: &View, answer: &Answer) -> Option<Score> {
    let ResponseFormat::JsonSchema(schema) = &view.response_format else { return None };
    let value = serde_json::from_str::<Value>(&answer.text).ok()?;
    let validator = jsonschema::validator_for(&schema.value()?).ok()?;
    Some(yes(validator.is_valid(&value)))
}

fn tools(view: &View, answer: &Answer) -> Option<Score> {
    if answer.tool_calls.is_empty() {
        return None;
    }
    let valid = answer.tool_calls.iter().filter(|call| {
        let Some(tool) = view.tools.iter().find(|tool| tool.name == call.name) else { return false };
        arguments_satisfy(tool, &call.arguments)
    });
    Score::new(valid.count() as f64 / answer.tool_calls.len() as f64).ok()
}

/// Whether the arguments are JSON that the tool's parameters allow; a schema that cannot be read allows any JSON.
fn arguments_satisfy(tool: &Tool, arguments: &str) -> bool {
    // Providers write no arguments as an empty text.
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let Ok(value) = serde_json::from_str::<Value>(arguments) else { return false };
    let validator = tool.parameters.as_ref().and_then(|schema| jsonschema::validator_for(&schema.value()?).ok());
    validator.is_none_or(|validator| validator.is_valid(&value))
}

fn truncation(view: &View, answer: &Answer) -> Option<Score> {
    if view.max_tokens.is_some_and(|cap| cap < TINY_CAP) {
        return None;
    }
    match answer.finish_reason.as_ref()? {
        FinishReason::Length => Some(Score::ZERO),
        FinishReason::Stop | FinishReason::ToolCalls => Some(Score::ONE),
        FinishReason::ContentFilter | FinishReason::Other(_) => None,
    }
}

fn refusal(answer: &Answer) -> Option<Score> {
    if answer.refusal.is_some() || answer.finish_reason == Some(FinishReason::ContentFilter) {
        return Some(Score::ZERO);
    }
    if answer.text.trim().is_empty() || !answer.tool_calls.is_empty() {
        return None;
    }
    Some(yes(!declines(&answer.text)))
}

/// Whether a text begins by declining, in English: an apology at most, then the speaker says that it cannot or will
/// not do one of the things that requests ask for. "I can't find a bug in this" is no refusal.
fn declines(text: &str) -> bool {
    let start: String = text
        .trim_start()
        .chars()
        .take(LOOK)
        .map(|c| if c == '\u{2019}' { '\'' } else { c.to_ascii_lowercase() })
        .collect();
    let mut rest = start.as_str();
    let apologies = [
        "i'm sorry",
        "i am sorry",
        "sorry",
        "i apologize",
        "i apologise",
        "my apologies",
        "unfortunately",
        "as an ai language model",
        "as an ai assistant",
        "as an ai",
    ];
    loop {
        rest = rest.trim_start_matches([',', '.', ' ', '\n', '!', ':', '-']);
        let shorter =
            apologies.iter().find_map(|apology| rest.strip_prefix(apology)).or_else(|| rest.strip_prefix("but "));
        match shorter {
            Some(shorter) => rest = shorter,
            None => break,
        }
    }
    let inability = [
        "i can't",
        "i cannot",
        "i can not",
        "i'm unable to",
        "i am unable to",
        "i'm not able to",
        "i am not able to",
        "i won't",
        "i will not",
        "i must decline",
        "i have to decline",
        "i'm not comfortable",
        "i am not comfortable",
    ];
    let Some(what) = inability.iter().find_map(|words| rest.strip_prefix(words)) else { return false };
    let what = what
        .trim_start()
        .trim_start_matches("be able to ")
        .trim_start_matches("to ")
        .trim_start_matches("in good conscience ");
    let deeds = [
        "help",
        "assist",
        "comply",
        "fulfill",
        "fulfil",
        "provide",
        "do that",
        "do this",
        "engage",
        "support",
        "create",
        "generate",
        "write",
        "answer that",
        "answer this",
        "discuss",
        "continue",
        "share",
        "participate",
        "produce",
        "with that request",
        "providing",
        "helping",
        "assisting",
    ];
    rest.starts_with("i must decline")
        || rest.starts_with("i have to decline")
        || deeds.iter().any(|deed| what.starts_with(deed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::ToolCall;

    fn raw(value: &Value) -> crate::chat::Raw {
        crate::chat::Raw(value.to_string().into())
    }

    fn said(text: &str) -> Answer {
        Answer { text: text.to_owned(), finish_reason: Some(FinishReason::Stop), ..Answer::default() }
    }

    fn score(view: &View, answer: &Answer, channel: &str) -> Option<f64> {
        evaluate(view, answer).into_iter().find(|record| record.channel == channel).map(|record| record.score.get())
    }

    #[test]
    fn json_is_judged_only_where_it_was_asked_for() {
        let object = View { response_format: ResponseFormat::JsonObject, ..View::default() };
        assert_eq!(score(&View::default(), &said("{}"), "format"), None);
        assert_eq!(score(&object, &said(" {\"a\": 1} "), "format"), Some(1.0));
        assert_eq!(score(&object, &said("[1]"), "format"), Some(0.0));
        assert_eq!(score(&object, &said("```json\n{}\n```"), "format"), Some(0.0));
    }

    #[test]
    fn a_schema_is_a_channel_of_its_own() {
        let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
        let view = View { response_format: ResponseFormat::JsonSchema(raw(&schema)), ..View::default() };
        assert_eq!(score(&view, &said(r#"{"city":"Prague"}"#), "schema"), Some(1.0));
        assert_eq!(score(&view, &said(r#"{"city":7}"#), "schema"), Some(0.0));
        assert_eq!(score(&view, &said("Prague"), "schema"), None);
        assert_eq!(score(&view, &said("Prague"), "format"), Some(0.0));
        let broken =
            View { response_format: ResponseFormat::JsonSchema(raw(&json!({"type": "nonsense"}))), ..View::default() };
        assert_eq!(score(&broken, &said("{}"), "schema"), None);
    }

    #[test]
    fn tool_calls_are_scored_by_their_share_of_valid_ones() {
        let parameters = json!({"type": "object", "required": ["city"]});
        let tool = Tool { name: "weather".into(), parameters: Some(raw(&parameters)) };
        let free = Tool { name: "now".into(), parameters: None };
        let view = View { tools: vec![tool, free], ..View::default() };
        let call =
            |name: &str, arguments: &str| ToolCall { id: "1".into(), name: name.into(), arguments: arguments.into() };
        let calls =
            |tool_calls| Answer { tool_calls, finish_reason: Some(FinishReason::ToolCalls), ..Answer::default() };
        assert_eq!(score(&view, &calls(vec![call("weather", r#"{"city":"x"}"#), call("now", "")]), "tools"), Some(1.0));
        let three_wrong =
            vec![call("weather", "{}"), call("weather", "{\"ci"), call("unknown", "{}"), call("now", "{}")];
        assert_eq!(score(&view, &calls(three_wrong), "tools"), Some(0.25));
        assert_eq!(score(&view, &said("hi"), "tools"), None);
    }

    #[test]
    fn a_cut_answer_is_truncated_unless_the_caller_wanted_a_word() {
        let cut = Answer { finish_reason: Some(FinishReason::Length), ..said("and the") };
        assert_eq!(score(&View::default(), &cut, "truncation"), Some(0.0));
        assert_eq!(score(&View { max_tokens: Some(5), ..View::default() }, &cut, "truncation"), None);
        assert_eq!(score(&View::default(), &said("done"), "truncation"), Some(1.0));
        assert_eq!(score(&View::default(), &Answer { finish_reason: None, ..said("x") }, "truncation"), None);
    }

    #[test]
    fn refusals_are_told_from_talk_about_inability() {
        for text in [
            "I'm sorry, but I can\u{2019}t help with that.",
            "I cannot assist with this request.",
            "Sorry, I won't provide instructions for that.",
            "As an AI language model, I am unable to generate such content.",
            "Unfortunately, I'm not able to comply.",
            "I must decline.",
        ] {
            assert_eq!(score(&View::default(), &said(text), "refusal"), Some(0.0), "{text}");
        }
        for text in [
            "I can't find a bug in this function.",
            "I'm sorry to hear that. Here is what you can do.",
            "The clerk said: I can't help you.",
            "I cannot stress enough how useful tests are.",
            "Sorry, here is the corrected version.",
        ] {
            assert_eq!(score(&View::default(), &said(text), "refusal"), Some(1.0), "{text}");
        }
        let protocol = Answer { refusal: Some("no".into()), ..said("") };
        assert_eq!(score(&View::default(), &protocol, "refusal"), Some(0.0));
        assert_eq!(score(&View::default(), &protocol, "empty"), Some(1.0));
    }

    #[test]
    fn nothing_said_is_empty() {
        assert_eq!(score(&View::default(), &said("  \n"), "empty"), Some(0.0));
        assert_eq!(score(&View::default(), &said("x"), "empty"), Some(1.0));
        assert_eq!(score(&View::default(), &said(""), "refusal"), None);
    }
}
