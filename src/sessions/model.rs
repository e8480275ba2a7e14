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
    http::conditional::EntityTag,
    runs::model::RunMetrics,
    text::{self, TextError},
    words::{NewerWord, words},
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionType {
    #[default]
    Agent,
    Team,
    Workflow,
    #[serde(skip)]
    Newer(NewerWord),
}

words!(SessionType, "session_type", Some("What a session talks with."), {
    Agent => "agent",
    Team => "team",
    Workflow => "workflow",
});

impl fmt::Display for SessionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who gave a session its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "named_by", rename_all = "lowercase")]
pub enum NamedBy {
    User,
    Message,
    Model,
}

impl NamedBy {
    /// The one that PostgreSQL calls so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "user" => Some(Self::User),
            "message" => Some(Self::Message),
            "model" => Some(Self::Model),
            _ => None,
        }
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
    pub named_by: Option<NamedBy>,
    pub session_state: Map<String, Value>,
    pub metadata: Map<String, Value>,
    pub version: i64,
    pub run_count: i64,
    /// Those of tools are counted too.
    pub message_count: i64,
    /// What all runs took together.
    pub usage: RunMetrics,
    pub summary: Option<SessionSummary>,
    pub created_at: DateTime<Utc>,
    /// When it last changed or a run last ended.
    pub updated_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
    /// Retention and expiry leave it alone.
    pub pinned: bool,
    pub expires_at: Option<DateTime<Utc>>,
    /// The session that this one was copied from.
    pub forked_from: Option<SessionId>,
}

impl Session {
    /// Another one for each version, and for a later session of the same id.
    pub fn tag(&self) -> EntityTag {
        EntityTag::new(format_args!("{}-{:x}", self.version, self.created_at.timestamp_micros()))
    }
}

const TITLE_CHARS: usize = 100;

/// The name of a session that its user has not named: the beginning of its first message.
pub fn title(message: &str) -> Option<String> {
    Some(message.trim()).filter(|title| !title.is_empty()).map(|title| text::truncate(title, TITLE_CHARS))
}

/// How large an object is as JSON.
pub fn json_bytes(object: &Map<String, Value>) -> usize {
    serde_json::to_vec(object).map_or(usize::MAX, |json| json.len())
}
