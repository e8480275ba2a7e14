//! Why a run has no answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::RunStatus;

/// Why a run has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunError {
    /// What went wrong, or who ended the run.
    #[serde(rename = "type")]
    pub kind: RunErrorKind,
    pub message: String,
}

impl RunError {
    /// The process stops before the run has ended.
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
    /// The state that was sent with the run does not fit into the session's state.
    StateTooLarge,
    /// A kind that only a newer build of this server knows; the message says what it is.
    #[serde(other)]
    Unknown,
}

impl RunErrorKind {
    /// The name on the wire.
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

    /// The status of a run that ends for this reason.
    pub fn status(self) -> RunStatus {
        match self {
            Self::Cancelled | Self::QueueTimeout => RunStatus::Cancelled,
            _ => RunStatus::Error,
        }
    }
}
