//! What a summary is, inside and on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::llm::ModelInfo;

/// The summary of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionSummary {
    pub summary: String,
    pub topics: Vec<String>,
    pub updated_at: DateTime<Utc>,
}

/// A version of a session's summary.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SummaryVersion {
    /// It covers the runs up to this number.
    pub through_seq: i64,
    pub summary: String,
    /// What it says of the user, with which it begins; empty: nothing, or an older version wrote it.
    pub about_user: String,
    pub topics: Vec<String>,
    /// What it takes in a prompt, about.
    pub tokens: i32,
    /// How many runs it has taken in beyond the version before it.
    pub folded_runs: i32,
    /// What those runs took in a prompt.
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

/// Versions, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SummaryList {
    pub data: Vec<SummaryVersion>,
    /// Give it as `before` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}

/// What has come of summarizing now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summarized {
    pub status: SummarizeStatus,
    /// Absent: the session has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_summary: Option<SessionSummary>,
    /// The summary covers the runs up to this number; 0: none.
    pub through_seq: i64,
    /// How many runs have gone into it now.
    pub folded_runs: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SummarizeStatus {
    Summarized,
    /// Much is left to be summarized: ask again.
    SummarizedInPart,
    /// No completed run is outside of the summary.
    NothingToFold,
}
