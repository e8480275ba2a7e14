//! Sessions as the statements select them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::{
    model::{NamedBy, RunMetrics, Session, SessionId, SessionSummary, SessionType, UserId},
    usage::{Entries, details},
};

/// The columns of sessions `s`: everything but the transcript. Enums are read as text: the driver would look up their
/// types between preparing and executing a statement, and an unnamed prepared statement does not survive that. The tenant
/// is `$1`.
pub(super) const SESSION_COLUMNS: &str = "
    s.session_id, s.session_type::text, s.component_id, s.user_id, s.session_name, s.named_by::text, s.session_state, s.metadata,
    s.version, s.run_count, s.message_count, s.created_at, s.updated_at, s.archived_at, s.pinned, s.expires_at, s.forked_from,
    s.usage,
    case when s.summary_through > 0 then (
        select jsonb_build_object('summary', v.summary, 'topics', v.topics, 'updated_at', v.created_at)
        from summaries v
        where v.tenant_id = $1 and v.session_id = s.session_id and v.through_seq = s.summary_through
    ) end as summary
";

#[derive(sqlx::FromRow)]
pub(super) struct SessionRow {
    session_id: String,
    session_type: String,
    component_id: Option<String>,
    user_id: Option<String>,
    session_name: Option<String>,
    named_by: Option<String>,
    session_state: Json<Map<String, Value>>,
    metadata: Json<Map<String, Value>>,
    version: i64,
    run_count: i64,
    message_count: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
    pinned: bool,
    expires_at: Option<DateTime<Utc>>,
    forked_from: Option<String>,
    usage: Json<Entries>,
    summary: Option<Json<SessionSummary>>,
}

impl SessionRow {
    pub(super) fn into_session(self) -> Session {
        Session {
            session_id: SessionId::stored(self.session_id),
            session_type: SessionType::stored(&self.session_type),
            component_id: self.component_id,
            user_id: self.user_id.map(UserId::stored),
            session_name: self.session_name,
            named_by: self.named_by.as_deref().and_then(NamedBy::named),
            session_state: self.session_state.0,
            metadata: self.metadata.0,
            version: self.version,
            run_count: self.run_count,
            message_count: self.message_count,
            usage: RunMetrics::of(details(self.usage.0)),
            summary: self.summary.map(|summary| summary.0),
            created_at: self.created_at,
            updated_at: self.updated_at,
            archived_at: self.archived_at,
            pinned: self.pinned,
            expires_at: self.expires_at,
            forked_from: self.forked_from.map(SessionId::stored),
        }
    }
}
