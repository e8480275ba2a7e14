//! The summary of a session.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The summary of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionSummary {
    pub summary: String,
    pub topics: Vec<String>,
    pub updated_at: DateTime<Utc>,
}
