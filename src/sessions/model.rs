//! What a session is.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::summary::SessionSummary;
use crate::{
    auth::UserId,
    runs::model::RunMetrics,
    text::{self, TextError},
};

/// Chosen by the caller, or a UUIDv7 made here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "s-1", min_length = 1, max_length = 255)]
pub struct SessionId(String);

impl SessionId {
    pub fn mint() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// An id that was checked when it was stored.
    pub fn stored(id: String) -> Self {
        Self(id)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SessionId {
    type Error = TextError;

    fn try_from(value: String) -> Result<Self, TextError> {
        text::check_id(&value)?;
        Ok(Self(value))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a session talks with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "session_type", rename_all = "lowercase")]
pub enum SessionType {
    #[default]
    Agent,
    Team,
    Workflow,
}

impl fmt::Display for SessionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Team => "team",
            Self::Workflow => "workflow",
        })
    }
}

/// A session without its transcript.
#[derive(Clone, Debug)]
pub struct Session {
    pub session_id: SessionId,
    pub session_type: SessionType,
    pub component_id: Option<String>,
    pub user_id: Option<UserId>,
    pub session_name: Option<String>,
    pub session_state: Map<String, Value>,
    pub metadata: Map<String, Value>,
    pub version: i64,
    /// How many runs were accepted.
    pub run_count: i64,
    /// What all runs took together.
    pub usage: RunMetrics,
    pub summary: Option<SessionSummary>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}
