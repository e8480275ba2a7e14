//! Sessions.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{RunMetrics, SessionId, SessionSummary, UserId, version::EntityTag};
use crate::{
    text,
    words::{NewerWord, words},
};

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
    /// Parses the label of the PostgreSQL enum.
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
    /// Includes tool messages.
    pub message_count: i64,
    /// The total usage of all runs.
    pub usage: RunMetrics,
    pub summary: Option<SessionSummary>,
    pub created_at: DateTime<Utc>,
    /// When it last changed or a run last ended.
    pub updated_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
    /// Exempt from retention and expiry.
    pub pinned: bool,
    pub expires_at: Option<DateTime<Utc>>,
    /// The session that this one was copied from.
    pub forked_from: Option<SessionId>,
}

impl Session {
    /// Different for each version, and for a later session with the same id.
    pub fn tag(&self) -> EntityTag {
        EntityTag::new(format_args!("{}-{:x}", self.version, self.created_at.timestamp_micros()))
    }
}

const TITLE_CHARS: usize = 100;

/// The default name of a session: the beginning of its first message.
pub fn title(message: &str) -> Option<String> {
    Some(message.trim()).filter(|title| !title.is_empty()).map(|title| text::truncate(title, TITLE_CHARS))
}
