//! The events of a run, as they are stored.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{MemoryId, ModelInfo, RunError, RunMetrics, SessionSummary, ToolExecution, Usage, UserId};

/// An event of a run, with its index.
#[derive(Clone, Debug)]
pub struct Event {
    pub index: i32,
    pub at: DateTime<Utc>,
    pub kind: EventKind,
}

/// What happened.
///
/// This is also the stored form. A kind or a field that has once been stored keeps its name and meaning, a new field
/// has a default, and a kind of a newer build is read as [`EventKind::Unknown`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    RunStarted {
        model: ModelInfo,
    },
    /// A new attempt at the run has begun, usually in another process. Earlier events are void: the answer starts anew.
    RunContinued,
    ModelRequestStarted {
        model: ModelInfo,
    },
    RunContent {
        delta: String,
    },
    ModelRequestCompleted {
        model: ModelInfo,
        usage: Usage,
        /// Seconds.
        time_to_first_token: f64,
    },
    ToolCallStarted {
        tool: Box<ToolExecution>,
    },
    ToolCallCompleted {
        tool: Box<ToolExecution>,
    },
    ToolCallError {
        tool: Box<ToolExecution>,
        error: String,
    },
    RunContentCompleted,
    SessionSummaryStarted,
    SessionSummaryCompleted {
        /// Absent if the session has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<Box<SessionSummary>>,
    },
    MemoryUpdateStarted,
    MemoryUpdateCompleted {
        /// All memories of the user after the update.
        memories: Vec<KnownMemory>,
    },
    RunError {
        error: RunError,
    },
    RunCancelled {
        reason: String,
    },
    RunCompleted {
        completion: Box<Completion>,
    },
    /// An event kind of a newer build. Readers skip it.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// The kind's stored name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run_started",
            Self::RunContinued => "run_continued",
            Self::ModelRequestStarted { .. } => "model_request_started",
            Self::RunContent { .. } => "run_content",
            Self::ModelRequestCompleted { .. } => "model_request_completed",
            Self::ToolCallStarted { .. } => "tool_call_started",
            Self::ToolCallCompleted { .. } => "tool_call_completed",
            Self::ToolCallError { .. } => "tool_call_error",
            Self::RunContentCompleted => "run_content_completed",
            Self::SessionSummaryStarted => "session_summary_started",
            Self::SessionSummaryCompleted { .. } => "session_summary_completed",
            Self::MemoryUpdateStarted => "memory_update_started",
            Self::MemoryUpdateCompleted { .. } => "memory_update_completed",
            Self::RunError { .. } => "run_error",
            Self::RunCancelled { .. } => "run_cancelled",
            Self::RunCompleted { .. } => "run_completed",
            Self::Unknown => "unknown",
        }
    }
}

/// The content of `RunCompleted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_provider_data: Option<Value>,
    #[serde(default)]
    pub session_state: Map<String, Value>,
    pub metrics: RunMetrics,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A memory of the user, after an update of the memories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownMemory {
    pub memory_id: MemoryId,
    pub memory: String,
    #[serde(default)]
    pub topics: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The message from which it was extracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    pub user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Stored rows must stay readable: only add to this table.
    #[test]
    fn stored_events_are_read_again() {
        let tool = json!({"tool_call_id": "c", "tool_name": "t", "tool_args": {}, "created_at": 1});
        for stored in [
            json!({"kind": "run_started", "model": {"id": "m", "provider": "p"}}),
            json!({"kind": "run_continued"}),
            json!({"kind": "run_content", "delta": "Hi"}),
            json!({"kind": "tool_call_started", "tool": tool}),
            json!({"kind": "tool_call_error", "tool": tool, "error": "no"}),
            json!({"kind": "run_content_completed"}),
            json!({"kind": "session_summary_completed"}),
            json!({"kind": "run_error", "error": {"type": "interrupted", "message": "m"}}),
            json!({"kind": "run_cancelled", "reason": "r"}),
        ] {
            let read: EventKind = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(read.name(), stored["kind"]);
            assert_eq!(serde_json::to_value(&read).unwrap(), stored);
        }
    }

    #[test]
    fn events_of_a_newer_build_are_read_with_what_is_known_of_them() {
        let with_more = json!({"kind": "run_content", "delta": "Hi", "language": "en"});
        let read: EventKind = serde_json::from_value(with_more).unwrap();
        assert_eq!(read, EventKind::RunContent { delta: "Hi".into() });
        let of_new_kind = json!({"kind": "run_paused", "until": 1});
        assert_eq!(serde_json::from_value::<EventKind>(of_new_kind).unwrap(), EventKind::Unknown);
    }
}
