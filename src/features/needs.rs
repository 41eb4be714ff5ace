//! What a deployment must be able to do, read off the request.
//!
//! Abilities are plain facts of the body. Tokens are counted where there is text, and estimated by the
//! providers' published rules where there is not: each message has a frame, tools are written into the
//! prompt as their schemas, an image costs a number of tiles.

use super::Needs;
use super::tokens::Vocabulary;
use crate::catalog::Capability;
use crate::chat::{ChatRequest, Endpoint, Message, ResponseFormat, View};

/// Tokens around the text of one message, and those that open the answer (OpenAI's own counting example).
const MESSAGE_FRAME: usize = 3;
const ANSWER_FRAME: usize = 3;
/// Tokens around one tool's name and schema.
const TOOL_FRAME: usize = 8;
/// An image of 1024 x 1024 in high detail: 85 for the overview and 170 for each of four tiles (OpenAI's rule for
/// the GPT-4o family). The image itself is not looked at.
const IMAGE: usize = 765;
/// An audio or file part: a guess, half a minute of speech or a page and a half of text; its size is not looked at.
const MEDIA: usize = 1_000;
/// Tokens of one tool call in the history, beside text.
const TOOL_CALL: usize = 24;

/// The needs of this request.
#[must_use]
pub fn needs(request: &ChatRequest) -> Needs {
    let view = &request.view;
    let mut capabilities = Vec::new();
    let mut need = |needed: bool, capability: Capability| {
        if needed {
            capabilities.push(capability);
        }
    };
    let uses_tools = |message: &Message| message.tool_calls > 0;
    need(!view.tools.is_empty() || view.messages.iter().any(uses_tools), Capability::Tools);
    need(matches!(view.response_format, ResponseFormat::JsonObject), Capability::JsonMode);
    need(matches!(view.response_format, ResponseFormat::JsonSchema(_)), Capability::JsonSchema);
    need(view.messages.iter().any(|message| message.images > 0), Capability::Vision);
    need(view.messages.iter().any(|message| message.other_media > 0), Capability::Media);
    need(view.logprobs, Capability::Logprobs);
    need(view.n > 1, Capability::ManyChoices);
    need(request.endpoint == Endpoint::Completions, Capability::LegacyCompletions);
    let prompt_tokens = u32::try_from(prompt_tokens(view)).unwrap_or(u32::MAX);
    Needs { capabilities, prompt_tokens, max_tokens: view.max_tokens, choices: view.n.max(1) }
}

/// Estimated tokens of the whole prompt. The cost is bounded: texts share one budget of exact counting, and what
/// goes beyond it is estimated at the rate of what was counted.
fn prompt_tokens(view: &View) -> usize {
    let vocabulary = Vocabulary::of(&view.model);
    let mut meter = Meter { vocabulary, counted: (0, 0), owed: 0 };
    let mut frames = ANSWER_FRAME;
    for message in &view.messages {
        meter.add(&message.text);
        frames += MESSAGE_FRAME + message.images * IMAGE + message.other_media * MEDIA + message.tool_calls * TOOL_CALL;
    }
    for tool in &view.tools {
        meter.add(&tool.name);
        if let Some(parameters) = &tool.parameters {
            meter.add(&parameters.to_string());
        }
        frames += TOOL_FRAME;
    }
    if let ResponseFormat::JsonSchema(schema) = &view.response_format {
        meter.add(&schema.to_string());
    }
    frames.saturating_add(meter.total())
}

/// Tokens of these texts together, in the vocabulary of this model, at a bounded cost.
#[must_use]
pub fn tokens_of<'a>(texts: impl Iterator<Item = &'a str>, model: &str) -> usize {
    let mut meter = Meter { vocabulary: Vocabulary::of(model), counted: (0, 0), owed: 0 };
    texts.for_each(|text| meter.add(text));
    meter.total()
}

/// Counts texts until the budget is spent, then estimates.
struct Meter {
    vocabulary: Vocabulary,
    /// Tokens, and the bytes they stand for.
    counted: (usize, usize),
    /// Bytes that were not counted.
    owed: usize,
}

/// Bytes that one request may have counted: four texts at the limit of exact counting.
const BUDGET_BYTES: usize = 4 * super::tokens::EXACT_BYTES;

impl Meter {
    fn add(&mut self, text: &str) {
        if self.counted.1 >= BUDGET_BYTES {
            self.owed += text.len();
        } else {
            self.counted.0 += self.vocabulary.count(text);
            self.counted.1 += text.len();
        }
    }

    fn total(&self) -> usize {
        let (tokens, bytes) = self.counted;
        if self.owed == 0 || bytes == 0 {
            return tokens;
        }
        tokens + (self.owed as f64 * tokens as f64 / bytes as f64).round() as usize
    }
}
