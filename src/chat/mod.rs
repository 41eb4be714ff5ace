//! A chat request and what comes back, in OpenAI's words.
//!
//! The body is kept as the bytes that arrived; beside it stands a parsed view of the few fields that
//! routing needs. What goes upstream is the same bytes with the least possible edit.

mod edit;
mod parse;
pub(crate) mod wire;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which of OpenAI's completion endpoints the request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions` (legacy; the prompt is seen as one user message)
    Completions,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `system` or `developer`
    System,
    /// `user`
    User,
    /// `assistant`
    Assistant,
    /// `tool` or `function`
    Tool,
    /// A role this version does not know; passed through.
    Other,
}

/// One message, as far as routing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// Its text parts, joined by line feeds; empty if it has none.
    pub text: String,
    /// How many images it carries.
    pub images: usize,
    /// How many audio or file parts it carries.
    pub other_media: usize,
    /// How many tool calls it makes.
    pub tool_calls: usize,
}

/// A JSON value as it was written: a slice of the body. Schemas are long and seldom looked into, so they are
/// read only by who needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw(pub(crate) Bytes);

impl Raw {
    /// The value; `None` if it is nested too deeply to be held (more than 127 levels).
    #[must_use]
    pub fn value(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.0).ok()
    }
}

impl std::fmt::Display for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The form the answer must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that satisfies this schema.
    JsonSchema(Raw),
}

/// A tool the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its function's name.
    pub name: String,
    /// JSON schema of its arguments, if given.
    pub parameters: Option<Raw>,
}

/// The parsed view of a request: only what routing reads.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// `model`, as asked for.
    pub model: String,
    /// `stream`
    pub stream: bool,
    /// `stream_options.include_usage`
    pub include_usage: bool,
    /// `messages` (or the legacy `prompt` as one user message).
    pub messages: Vec<Message>,
    /// `tools` and the legacy `functions`.
    pub tools: Vec<Tool>,
    /// `response_format`
    pub response_format: ResponseFormat,
    /// `n`, 1 when absent.
    pub n: u32,
    /// `temperature`
    pub temperature: Option<f64>,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<u32>,
    /// `logprobs` asked for.
    pub logprobs: bool,
    /// `metadata`: string values only; keys starting with `pointsman_` are wishes.
    pub metadata: Vec<(String, String)>,
    /// `user`
    pub user: Option<String>,
}

/// A request: the bytes that arrived, and their parsed view.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// Where it came to.
    pub endpoint: Endpoint,
    /// The body as it arrived, never changed.
    pub body: Bytes,
    /// What routing reads of it.
    pub view: View,
    /// What changes in `body` on the way upstream.
    edits: edit::Edits,
}

impl View {
    /// The text of all messages, joined by line feeds.
    #[must_use]
    pub fn text(&self) -> String {
        let mut all = String::with_capacity(self.messages.iter().map(|message| message.text.len() + 1).sum());
        for message in self.messages.iter().filter(|message| !message.text.is_empty()) {
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(&message.text);
        }
        all
    }
}

impl ChatRequest {
    /// The text that says what is asked: the last user message that has any, else the last message that has.
    #[must_use]
    pub fn prompt(&self) -> &str {
        let mut with_text = self.view.messages.iter().rev().filter(|message| !message.text.trim().is_empty());
        let last = with_text.clone().next();
        with_text.find(|message| message.role == Role::User).or(last).map_or("", |message| &message.text)
    }

    /// Whether the stream reports its usage only because [`ChatRequest::upstream_body`] asked for it: the client
    /// did not, and must not see it.
    #[must_use]
    pub const fn usage_was_added(&self) -> bool {
        self.view.stream && !self.view.include_usage
    }
}

/// Tokens as the provider reported them; `None` = not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub prompt_tokens: Option<u64>,
    /// All output tokens, reasoning ones included.
    pub completion_tokens: Option<u64>,
    /// Input tokens read from the provider's prompt cache.
    pub cached_tokens: Option<u64>,
    /// Input tokens written to the provider's prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// Output tokens spent on hidden reasoning.
    pub reasoning_tokens: Option<u64>,
}

/// Why the answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// It ran into the output limit.
    Length,
    /// It wants tools to be called.
    ToolCalls,
    /// The provider cut it for its content.
    ContentFilter,
    /// A reason this version does not know, as the provider said it.
    #[serde(untagged)]
    Other(String),
}

/// A tool call of an answer, put together from its pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of the call.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments: JSON text, as the model wrote it.
    pub arguments: String,
}

/// What an answer said, put together from its bytes or its stream; first choice only where there are several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The provider's id of the response.
    pub id: Option<String>,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// The text.
    pub text: String,
    /// The refusal text, if the model refused in the protocol's own way.
    pub refusal: Option<String>,
    /// Tool calls.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended; `None` while it has not.
    pub finish_reason: Option<FinishReason>,
    /// Tokens, if reported.
    pub usage: Option<Usage>,
    /// What the provider says it charged (`usage.cost`, as some aggregators report).
    pub reported_cost_usd: Option<f64>,
}

#[cfg(test)]
mod tests;
