//! Runs, as they are stored.

pub mod context;
pub mod error;
pub mod message;
pub mod tool;
pub mod usage;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    ContextRecord, ModelInfo, ProcessId, RunError, RunId, RunMetrics, SessionId, TenantId, ToolExecution, UserId,
};
use crate::words::{NewerWord, words};

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
    /// Whether the run has ended. Only a regeneration changes a final status. A status that only a newer build knows
    /// does not count as final: the run may continue there, so it is left alone.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Error | Self::Regenerated)
    }
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
    pub tools: Vec<ToolExecution>,
    /// The run that this one branches off from.
    pub forked_from_run_id: Option<RunId>,
    /// The run that this one replaces.
    pub regenerated_from: Option<RunId>,
    pub created_at: DateTime<Utc>,
}

/// The right to execute and settle one run.
#[derive(Clone, Debug)]
pub struct Claim {
    pub tenant_id: TenantId,
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
    /// The process that executes the run. It loses the claim when other processes consider it dead. `None` if the run
    /// has not begun.
    pub process: Option<ProcessId>,
}

/// The fields of a run that are fixed when it is accepted.
#[derive(Clone, Debug)]
pub struct Opening {
    pub run_id: RunId,
    pub component_id: String,
    pub user_id: Option<UserId>,
    pub input: String,
    pub metadata: Map<String, Value>,
    /// The id of the user's message.
    pub message_id: Uuid,
    /// The run that this one branches off from.
    pub forked_from_run_id: Option<RunId>,
    /// The run that this one replaces.
    pub regenerated_from: Option<RunId>,
    pub created_at: DateTime<Utc>,
}
