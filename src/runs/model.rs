//! Runs and their messages, as the other files of this room hold them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::context::Window;
use crate::{
    auth::UserId,
    llm::{ModelInfo, ToolCall, Usage},
    memories::recall::RecalledMemory,
    sessions::SessionId,
    words::{NewerWord, words},
};

/// Minted here (UUIDv7: ids sort by time), never taken from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = Uuid)]
pub struct RunId(pub Uuid);

impl RunId {
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process that executes runs, for as long as the others take it for alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct ProcessId(pub Uuid);

impl ProcessId {
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    Pending,
    Running,
    Paused,
    Completed,
    Cancelled,
    Error,
    /// Replaced by a later run on the same message.
    Regenerated,
    #[serde(skip)]
    Newer(NewerWord),
}

words!(RunStatus, "run_status", None::<&str>, {
    Pending => "PENDING",
    Running => "RUNNING",
    Paused => "PAUSED",
    Completed => "COMPLETED",
    Cancelled => "CANCELLED",
    Error => "ERROR",
    Regenerated => "REGENERATED",
});

impl RunStatus {
    /// Whether the run has an outcome, which does not change any more but for a regeneration. What a newer build calls by a
    /// word of its own may go on there, so it is left alone.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Error | Self::Regenerated)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    #[serde(skip)]
    Newer(NewerWord),
}

words!(Role, "message_role", None::<&str>, {
    System => "system",
    User => "user",
    Assistant => "assistant",
    Tool => "tool",
});

/// One message of a run, as it is stored.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    pub message_id: Uuid,
    pub role: Role,
    pub content: Option<String>,
    pub reasoning: Option<String>,
    /// The calls that an assistant message makes.
    pub tool_calls: Option<Vec<ToolCall>>,
    #[serde(flatten)]
    pub answers: Option<AnsweredCall>,
    pub metrics: Option<MessageMetrics>,
    pub provider_data: Option<Value>,
    pub created_at: DateTime<Utc>,
}

impl Message {
    pub fn new(role: Role, content: Option<String>, created_at: DateTime<Utc>) -> Self {
        Self {
            message_id: Uuid::now_v7(),
            role,
            content,
            reasoning: None,
            tool_calls: None,
            answers: None,
            metrics: None,
            provider_data: None,
            created_at,
        }
    }
}

/// The call that a tool message answers.
#[derive(Clone, Debug, Serialize)]
pub struct AnsweredCall {
    pub tool_call_id: String,
    pub tool_name: String,
    pub tool_args: Value,
    pub tool_call_error: bool,
}

/// What one answer of a model took.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MessageMetrics {
    #[serde(flatten)]
    pub usage: Usage,
    /// Seconds.
    pub duration: f64,
    /// Seconds from the request to the first piece of the answer.
    pub time_to_first_token: f64,
}

/// What a run took: tokens in all and by model, and seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunMetrics {
    #[serde(flatten)]
    pub usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    #[serde(skip_serializing_if = "UsageDetails::is_empty")]
    pub details: UsageDetails,
}

impl RunMetrics {
    /// Sums up what models were used for a purpose each.
    pub fn of(details: UsageDetails) -> Self {
        let mut usage = Usage::default();
        for part in [&details.model, &details.session_summary_model, &details.memory_model].into_iter().flatten() {
            usage += part.usage;
        }
        Self { usage, details, ..Self::default() }
    }
}

/// Tokens by purpose and model.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UsageDetails {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<ModelUsage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub session_summary_model: Vec<ModelUsage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_model: Vec<ModelUsage>,
}

impl UsageDetails {
    pub fn is_empty(&self) -> bool {
        self.model.is_empty() && self.session_summary_model.is_empty() && self.memory_model.is_empty()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelUsage {
    #[serde(flatten)]
    pub model: ModelInfo,
    #[serde(flatten)]
    pub usage: Usage,
}

/// Why a run has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunError {
    /// What went wrong, or who ended the run.
    #[serde(rename = "type")]
    pub kind: RunErrorKind,
    pub message: String,
}

impl RunError {
    /// The process has to end before the run has.
    pub fn interrupted() -> Self {
        let message = "The server was stopped during the run. Send the message again.".into();
        Self { kind: RunErrorKind::Interrupted, message }
    }

    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self { kind: RunErrorKind::Cancelled, message: reason.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunErrorKind {
    ModelProviderError,
    ModelTimeout,
    /// The model called tools again and again and never answered.
    ToolLoop,
    /// The answer was longer than the server keeps.
    AnswerTooLong,
    /// The run took longer than the server allows.
    DeadlineExceeded,
    /// The session was busy for longer than the request could wait.
    QueueTimeout,
    /// Somebody ended the run, or deleted its session.
    Cancelled,
    /// The server stopped before the run had ended.
    Interrupted,
    /// The answer was there but could not be stored.
    NotSaved,
    /// What the run was given does not fit into the session's state.
    StateTooLarge,
    /// A kind that only a newer build of this server knows; the message says what it is.
    #[serde(other)]
    Unknown,
}

impl RunErrorKind {
    /// As the wire names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelProviderError => "model_provider_error",
            Self::ModelTimeout => "model_timeout",
            Self::ToolLoop => "tool_loop",
            Self::AnswerTooLong => "answer_too_long",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::QueueTimeout => "queue_timeout",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::NotSaved => "not_saved",
            Self::StateTooLarge => "state_too_large",
            Self::Unknown => "unknown",
        }
    }

    /// How a run ends for this reason.
    pub fn status(self) -> RunStatus {
        match self {
            Self::Cancelled | Self::QueueTimeout => RunStatus::Cancelled,
            _ => RunStatus::Error,
        }
    }
}

/// What was put into the prompt and why, kept on the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ContextRecord {
    /// The summary was in the prompt, and covers all runs up to this one; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_through: Option<i64>,
    /// By which rule the history was chosen.
    pub window: Window,
    /// The number of the first run that was in the prompt verbatim; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_history_seq: Option<i64>,
    pub history_runs: usize,
    pub history_messages: usize,
    /// How many runs the rule would have chosen, and `history.max_tokens` left out.
    pub runs_left_out: usize,
    pub tokens: TokensByPart,
    /// The memories that were in the prompt, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<RecalledMemory>,
}

/// Tokens of each part of a prompt, as counted here: providers count a little differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TokensByPart {
    pub instructions: usize,
    pub summary: usize,
    pub history: usize,
    /// No less than what they take.
    pub memories: usize,
    pub session_state: usize,
    pub message: usize,
}

/// One run, as it is stored, without its messages.
#[derive(Clone, Debug)]
pub struct Run {
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
    pub component_id: String,
    pub user_id: Option<UserId>,
    pub status: RunStatus,
    pub input: String,
    pub content: Option<String>,
    pub error: Option<RunError>,
    pub model: Option<ModelInfo>,
    pub metrics: RunMetrics,
    pub session_state: Option<Map<String, Value>>,
    pub metadata: Map<String, Value>,
    pub context: ContextRecord,
    pub tools: Vec<super::wire::ToolExecution>,
    /// The run that this one continues in another direction.
    pub forked_from_run_id: Option<RunId>,
    /// The run that this one replaces.
    pub regenerated_from: Option<RunId>,
    pub created_at: DateTime<Utc>,
}
