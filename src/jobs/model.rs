//! Jobs as clients see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits for its turn, or for another attempt.
    Waiting,
    Running,
    /// All attempts are used up; the job stays until it is retried.
    Failed,
}

impl JobStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }
}

/// A background job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobView {
    pub job_id: i64,
    #[schema(example = "clean_up")]
    pub kind: String,
    /// The id of the run, session or user that the job is about; empty for housekeeping jobs.
    #[schema(example = "s-1")]
    pub about: String,
    pub status: JobStatus,
    /// The number of attempts so far.
    pub attempts: i16,
    pub max_attempts: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the job is or was due.
    pub run_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

/// Jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    pub data: Vec<JobView>,
    /// Pass it as `before` to get the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}
