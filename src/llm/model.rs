//! What goes to a model and what comes back, independent of any provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Which model answers, in the words of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelInfo {
    /// The provider's name for the model, for example `gpt-4o-mini`.
    pub id: String,
    /// `OpenAI`, `Anthropic`, `Google`, `Ollama` or `offline`.
    pub provider: String,
}

/// One call of a model. The order of the parts is the order in the prompt, so that a provider's prompt cache sees a
/// stable prefix.
#[derive(Clone, Debug, Default)]
pub struct ModelRequest {
    pub system: Option<String>,
    pub messages: Vec<PromptMessage>,
    pub tools: Vec<ToolSpec>,
    /// The form of the answer, for models that can be held to one. Others have to be told in words, and what they
    /// answer is checked either way.
    pub response: Option<ResponseSchema>,
}

/// JSON that an answer has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseSchema {
    /// Letters, digits, `_` and `-`.
    pub name: &'static str,
    /// JSON Schema; every object in it with `additionalProperties: false` and all its properties required, as OpenAI's
    /// strict mode wants it.
    pub schema: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PromptMessage {
    User(String),
    Assistant { content: Option<String>, tool_calls: Vec<ToolCall> },
    Tool { call_id: String, name: String, content: String },
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON Schema of the arguments.
    pub parameters: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

/// A model's whole answer to one call.
#[derive(Clone, Debug)]
pub struct ModelReply {
    pub content: Option<String>,
    pub reasoning: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    pub usage: Usage,
    /// The model that answered: a fallback, when the first choice failed.
    pub model: ModelInfo,
    /// The provider's id of the answer, where it gives one.
    pub response_id: Option<String>,
    /// From sending the request to the first piece of content; equals `duration` for an answer that came whole.
    pub time_to_first_token: Duration,
    pub duration: Duration,
}

/// Tokens of one call or the sum of several, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub total_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_tokens: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.total_tokens += other.total_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
    }
}

/// Why a model gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    pub kind: ErrorKind,
    /// For callers: nothing of the provider's words, of its address or of the prompt.
    pub message: String,
    /// For operators, in logs and beside stored errors. It holds no key, but may quote what a provider says.
    pub detail: String,
    /// What the provider asked us to wait, from `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl ModelError {
    /// `name` is the model's in the settings.
    pub fn new(kind: ErrorKind, name: &str, detail: String) -> Self {
        let what = match kind {
            ErrorKind::TimedOut => "did not answer in time. Try again",
            ErrorKind::RateLimited => "has too much to do at the moment. Wait a little and try again",
            ErrorKind::Unavailable => "cannot be reached, or is overloaded. Try again in a moment",
            ErrorKind::Refused => "refuses the request. Ask the operator of this server to check the model's settings",
            ErrorKind::Unreadable => "sent no usable answer. Try again",
            ErrorKind::TooLarge => "sent an answer that is too large. Try again, or ask for less at a time",
        };
        Self { kind, message: format!("The model {name} {what}."), detail, retry_after: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No answer in time.
    TimedOut,
    /// 429.
    RateLimited,
    /// No connection, 408 or 5xx.
    Unavailable,
    /// Another 4xx: a wrong key, an unknown model, a request that the provider refuses.
    Refused,
    /// An answer that is not what the API promises, or a stream that was cut.
    Unreadable,
    /// More than any real answer has.
    TooLarge,
}

impl ErrorKind {
    /// Whether the same call may succeed when it is made again.
    pub fn is_transient(self) -> bool {
        !matches!(self, Self::Refused)
    }
}
