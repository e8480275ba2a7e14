//! Jobs as clients see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// For its turn, or for another attempt.
    Waiting,
    Running,
    /// All attempts are used up; it stays until it is retried.
    Failed,
}

impl JobStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }
}

/// A piece of background work.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobView {
    pub job_id: i64,
    #[schema(example = "clean_up")]
    pub kind: String,
    /// The session, run or user that it is about; empty for the housekeeping.
    #[schema(example = "s-1")]
    pub about: String,
    pub status: JobStatus,
    /// How often it was begun.
    pub attempts: i16,
    pub max_attempts: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it is, or was, due.
    pub run_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

/// Jobs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    pub data: Vec<JobView>,
    /// Give it as `before` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}
