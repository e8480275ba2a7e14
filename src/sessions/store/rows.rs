//! Sessions as the statements select them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::model::{
    ModelInfo, ModelUsage, NamedBy, RunMetrics, Session, SessionId, SessionSummary, SessionType, Usage, UsageDetails,
    UserId,
};

/// The columns of sessions `s`: everything but the transcript. Enums are read as text: the driver would look up their
/// types between preparing and executing a statement, and an unnamed prepared statement does not survive that.
pub(super) const SESSION_COLUMNS: &str = "
    s.session_id, s.session_type::text, s.component_id, s.user_id, s.session_name, s.named_by::text, s.session_state, s.metadata,
    s.version, s.run_count, s.message_count, s.created_at, s.updated_at, s.archived_at, s.pinned, s.expires_at, s.forked_from,
    array(
        select row(
            u.purpose::text, u.model, u.model_provider, u.input_tokens, u.output_tokens, u.total_tokens,
            u.reasoning_tokens, u.cache_read_tokens, u.cache_write_tokens
        )
        from session_usage u
        where u.session_id = s.session_id
    ) as usage,
    case when s.summary_through > 0 then (
        select jsonb_build_object('summary', v.summary, 'topics', v.topics, 'updated_at', v.created_at)
        from summaries v
        where v.session_id = s.session_id and v.through_seq = s.summary_through
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
    usage: Vec<UsageRow>,
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
            usage: RunMetrics::of(by_purpose(self.usage)),
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

/// Tokens of a session for one purpose and model. They are read as a composite-typed array: building JSON of them takes
/// PostgreSQL longer than the rest of a list.
type UsageRow = (String, String, String, i64, i64, i64, i64, i64, i64);

fn by_purpose(rows: Vec<UsageRow>) -> UsageDetails {
    let mut details = UsageDetails::default();
    for row in rows {
        let (purpose, id, provider, input_tokens, output_tokens, total_tokens, reasoning_tokens, read, written) = row;
        let usage = Usage {
            input_tokens,
            output_tokens,
            total_tokens,
            reasoning_tokens,
            cache_read_tokens: read,
            cache_write_tokens: written,
        };
        let usage = ModelUsage { model: ModelInfo { id, provider }, usage };
        match purpose.as_str() {
            "summary" => details.session_summary_model.push(usage),
            "memory" => details.memory_model.push(usage),
            _ => details.model.push(usage),
        }
    }
    details
}
