//! Requests to and replies from a model, independent of the provider.

use std::time::Duration;

use serde_json::Value;

use crate::model::{ModelInfo, ToolCall, Usage};

/// One call of a model. The fields are in the order of the prompt, so that a provider's prompt cache sees a stable
/// prefix.
#[derive(Clone, Debug, Default)]
pub struct ModelRequest {
    pub system: Option<String>,
    pub messages: Vec<PromptMessage>,
    pub tools: Vec<ToolSpec>,
    /// The JSON schema of the answer, for models with structured output. Other models ignore or refuse it, so the
    /// prompt must describe the form too, and the answer is validated in any case.
    pub response: Option<ResponseSchema>,
}

/// The JSON form that an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseSchema {
    /// May contain letters, digits, `_` and `-`.
    pub name: &'static str,
    /// JSON Schema. For OpenAI's strict mode, every object in it has `additionalProperties: false` and all its
    /// properties are required.
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

/// A model's complete answer to one call.
#[derive(Clone, Debug)]
pub struct ModelReply {
    pub content: Option<String>,
    pub reasoning: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    pub usage: Usage,
    /// The model that answered: a fallback if the first choice failed.
    pub model: ModelInfo,
    /// The provider's id of the answer, if there is one.
    pub response_id: Option<String>,
    /// From sending the request to the first piece of content; equals `duration` without streaming.
    pub time_to_first_token: Duration,
    pub duration: Duration,
}

/// Why a model gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    pub kind: ErrorKind,
    /// For callers: contains neither the provider's words nor its address nor the prompt.
    pub message: String,
    /// For operators, in logs and stored errors. It contains no key, but may quote the provider.
    pub detail: String,
    /// The wait that the provider asks for in `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl ModelError {
    /// `name` is the model's name in the settings.
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
    /// No answer before the timeout.
    TimedOut,
    /// HTTP 429.
    RateLimited,
    /// No connection, or HTTP 408 or 5xx.
    Unavailable,
    /// Another HTTP 4xx: a wrong key, an unknown model, or a request that the provider refuses.
    Refused,
    /// An answer that violates the API, or a stream that was cut off.
    Unreadable,
    /// Larger than the limits for an answer.
    TooLarge,
}

impl ErrorKind {
    /// Whether the same call may succeed if it is repeated.
    pub fn is_transient(self) -> bool {
        !matches!(self, Self::Refused)
    }
}
