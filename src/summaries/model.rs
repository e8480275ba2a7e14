//! Types of summaries, internal and on the wire.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{ModelInfo, SessionSummary};

/// A version of a session's summary.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SummaryVersion {
    /// The version covers the completed runs up to this number.
    pub through_seq: i64,
    pub summary: String,
    /// The part about the user, with which the summary begins. Empty if it says nothing about the user, or was written
    /// by an older version of the server.
    pub about_user: String,
    pub topics: Vec<String>,
    /// Approximate size of the summary in a prompt, in tokens.
    pub tokens: i32,
    /// Number of runs added since the previous version.
    pub folded_runs: i32,
    /// Size of these runs in a prompt, in tokens.
    pub folded_tokens: i64,
    /// The model that wrote it.
    #[serde(flatten)]
    pub model: WrittenBy,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WrittenBy {
    pub model: String,
    pub model_provider: String,
}

impl From<ModelInfo> for WrittenBy {
    fn from(model: ModelInfo) -> Self {
        Self { model: model.id, model_provider: model.provider }
    }
}

impl From<&SummaryVersion> for SessionSummary {
    fn from(version: &SummaryVersion) -> Self {
        Self { summary: version.summary.clone(), topics: version.topics.clone(), updated_at: version.created_at }
    }
}

/// Summary versions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SummaryList {
    pub data: Vec<SummaryVersion>,
    /// Pass it as `before` to get the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}

/// The result of a request to summarize.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summarized {
    pub status: SummarizeStatus,
    /// Absent if the session has no summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_summary: Option<SessionSummary>,
    /// The summary covers the completed runs up to this number; 0 if there is no summary.
    pub through_seq: i64,
    /// Number of runs that this request has added to the summary.
    pub folded_runs: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SummarizeStatus {
    Summarized,
    /// Runs are left to be summarized: repeat the request.
    SummarizedInPart,
    /// All completed runs but the newest `keep_runs` are in the summary already, or the rest follow a run that has not
    /// ended.
    NothingToFold,
}
