//! A chat request and what comes back, in OpenAI's words.
//!
//! The body is kept as the bytes that arrived; beside it stands a parsed view of the few fields that
//! routing needs. What goes upstream is the same bytes with the least possible edit.

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

/// The form the answer must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that satisfies this schema.
    JsonSchema(serde_json::Value),
}

/// A tool the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its function's name.
    pub name: String,
    /// JSON schema of its arguments, if given.
    pub parameters: Option<serde_json::Value>,
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
    /// Where in `body` the edits go; see [`ChatRequest::upstream_body`].
    pub(crate) edits: Edits,
}

/// Byte ranges of the fields that may have to change on the way upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// The value of `model`, quotes included.
    pub(crate) model: std::ops::Range<usize>,
    /// The value of `stream_options`, if the field is there.
    pub(crate) stream_options: Option<std::ops::Range<usize>>,
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
