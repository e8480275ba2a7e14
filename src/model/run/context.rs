//! The record of what a prompt contained, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{MemoryId, ScoreParts};

/// What the prompt of a run contained, and why. Stored with the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ContextRecord {
    /// The number of the last run that the summary in the prompt covers. Absent if the prompt had no summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_through: Option<i64>,
    /// The rule that selected the history.
    pub window: Window,
    /// The number of the first run that was in the prompt verbatim. Absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_history_seq: Option<i64>,
    pub history_runs: usize,
    pub history_messages: usize,
    /// How many runs the rule selected, but `history.max_tokens` excluded.
    pub runs_left_out: usize,
    pub tokens: TokensByPart,
    /// The memories in the prompt, and why they were selected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<RecalledMemory>,
}

/// Tokens of each part of a prompt, as counted by this server. Providers count slightly differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TokensByPart {
    pub instructions: usize,
    pub summary: usize,
    pub history: usize,
    /// An upper bound of the tokens of all memories.
    pub memories: usize,
    pub session_state: usize,
    pub message: usize,
}

/// The rule that selected the history of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// No history was asked for.
    #[default]
    None,
    /// The last `num_history_runs` runs.
    LastRuns,
    /// All runs after those that the summary covers.
    AfterSummary,
    /// A rule that only a newer build of this server knows.
    #[serde(other)]
    Unknown,
}

/// A memory that was in the prompt of a run, as stored with the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecalledMemory {
    pub memory_id: MemoryId,
    /// Its search score, the sum of `parts`. Both are absent if the memory was included only because it was new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<ScoreParts>,
}
