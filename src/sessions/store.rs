//! Sessions in PostgreSQL: SQL in, rows out. Every statement filters by a [`Scope`].

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};

use super::{
    model::{Session, SessionId, SessionType},
    summary::SessionSummary,
};
use crate::{
    auth::{Scope, UserId},
    http::paging::{PageRequest, SortOrder},
    runs::model::{ModelUsage, RunMetrics, UsageDetails},
};

/// Reads sessions `s` with everything but their transcripts; what follows is the rest of the statement.
macro_rules! select_sessions {
    ($rest:literal $(+ $more:literal)*, $($parameter:expr),* $(,)?) => {
        sqlx::query_as!(
            SessionRow,
            r#"
            select s.session_id, s.session_type as "session_type: SessionType", s.component_id, s.user_id,
                   s.session_name, s.session_state as "session_state: Json<Map<String, Value>>",
                   s.metadata as "metadata: Json<Map<String, Value>>", s.version, s.last_seq, s.created_at, s.updated_at,
                   (
                       select jsonb_agg(jsonb_build_object(
                           'purpose', u.purpose, 'id', u.model, 'provider', u.model_provider,
                           'input_tokens', u.input_tokens, 'output_tokens', u.output_tokens,
                           'total_tokens', u.total_tokens, 'reasoning_tokens', u.reasoning_tokens,
                           'cache_read_tokens', u.cache_read_tokens, 'cache_write_tokens', u.cache_write_tokens
                       ))
                       from session_usage u
                       where u.session_id = s.session_id
                   ) as "usage: Json<Vec<UsageRow>>",
                   v.summary as "summary?", v.topics as "topics?", v.created_at as "summarized_at?"
            from sessions s
            left join summaries v on v.session_id = s.session_id and v.through_seq = s.summary_through
            "#
            + $rest $(+ $more)*,
            $($parameter),*
        )
    };
}

/// A session to be created.
#[derive(Debug)]
pub struct NewSession {
    pub session_id: SessionId,
    pub session_type: SessionType,
    pub component_id: Option<String>,
    pub user_id: Option<UserId>,
    pub session_name: Option<String>,
    pub session_state: Map<String, Value>,
    pub metadata: Map<String, Value>,
    pub at: DateTime<Utc>,
}

/// Violates `sessions_pkey` when the id is in use.
pub async fn insert(db: &PgPool, session: &NewSession) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into sessions (
            session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata,
            created_at, updated_at
        )
        values ($1, $2, $3, $4, $5, case when $5::text is null then null else 'user'::named_by end, $6, $7, $8, $8)
        "#,
        session.session_id.as_str(),
        session.session_type as SessionType,
        session.component_id,
        session.user_id.as_ref().map(UserId::as_str),
        session.session_name,
        Json(&session.session_state) as _,
        Json(&session.metadata) as _,
        session.at,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn find(db: &PgPool, scope: &Scope, session_id: &SessionId) -> Result<Option<Session>, sqlx::Error> {
    let row = select_sessions!(
        "where s.session_id = $1 and ($2::text is null or s.user_id = $2)",
        session_id.as_str(),
        scope.user(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(SessionRow::into_session))
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    pub session_type: Option<SessionType>,
    pub component_id: Option<String>,
    /// A part of the name, in any case; `%` and `_` are ordinary characters.
    pub session_name: Option<String>,
}

impl SessionFilter {
    fn name_pattern(&self) -> Option<String> {
        let name = self.session_name.as_deref()?;
        let literal = name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        Some(format!("%{literal}%"))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    #[default]
    CreatedAt,
    UpdatedAt,
    SessionName,
}

/// One page of the sessions that fit, in a total order: the sort field, then the id.
pub async fn list(
    db: &PgPool,
    scope: &Scope,
    filter: &SessionFilter,
    (sort_by, order): (SortBy, SortOrder),
    page: PageRequest,
) -> Result<Vec<Session>, sqlx::Error> {
    macro_rules! page_by {
        ($order:literal) => {
            select_sessions!(
                r"
                where ($1::text is null or s.user_id = $1)
                  and ($2::session_type is null or s.session_type = $2)
                  and ($3::text is null or s.component_id = $3)
                  and ($4::text is null or s.session_name ilike $4)
                order by "
                    + $order
                    + " limit $5 offset $6",
                scope.user(),
                filter.session_type as Option<SessionType>,
                filter.component_id,
                filter.name_pattern(),
                page.limit(),
                page.offset(),
            )
            .fetch_all(db)
            .await?
        };
    }
    let rows = match (sort_by, order) {
        (SortBy::CreatedAt, SortOrder::Asc) => page_by!("s.created_at, s.session_id"),
        (SortBy::CreatedAt, SortOrder::Desc) => page_by!("s.created_at desc, s.session_id desc"),
        (SortBy::UpdatedAt, SortOrder::Asc) => page_by!("s.updated_at, s.session_id"),
        (SortBy::UpdatedAt, SortOrder::Desc) => page_by!("s.updated_at desc, s.session_id desc"),
        (SortBy::SessionName, SortOrder::Asc) => page_by!("coalesce(s.session_name, ''), s.session_id"),
        (SortBy::SessionName, SortOrder::Desc) => page_by!("coalesce(s.session_name, '') desc, s.session_id desc"),
    };
    Ok(rows.into_iter().map(SessionRow::into_session).collect())
}

/// How many sessions fit.
pub async fn count(db: &PgPool, scope: &Scope, filter: &SessionFilter) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from sessions s
        where ($1::text is null or s.user_id = $1)
          and ($2::session_type is null or s.session_type = $2)
          and ($3::text is null or s.component_id = $3)
          and ($4::text is null or s.session_name ilike $4)
        "#,
        scope.user(),
        filter.session_type as Option<SessionType>,
        filter.component_id,
        filter.name_pattern(),
    )
    .fetch_one(db)
    .await
}

/// Changes of a session by its user; what is absent stays.
#[derive(Debug, Default)]
pub struct Edit {
    /// A name that only the user may replace.
    pub session_name: Option<String>,
    pub session_state: Option<Map<String, Value>>,
    pub metadata: Option<Map<String, Value>>,
}

/// Makes the changes. `false`: there is no such session.
pub async fn edit(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    edit: &Edit,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let edited = sqlx::query!(
        r#"
        update sessions
        set session_name = coalesce($3, session_name),
            named_by = case when $3::text is null then named_by else 'user'::named_by end,
            session_state = coalesce($4, session_state),
            metadata = coalesce($5, metadata),
            updated_at = greatest(updated_at, $6),
            version = version + 1
        where session_id = $1 and ($2::text is null or user_id = $2)
        "#,
        session_id.as_str(),
        scope.user(),
        edit.session_name,
        edit.session_state.as_ref().map(Json) as _,
        edit.metadata.as_ref().map(Json) as _,
        at,
    )
    .execute(db)
    .await?;
    Ok(edited.rows_affected() > 0)
}

/// Gives a name that a model has found, to a session that has none from its user.
pub async fn set_title(connection: &mut PgConnection, session_id: &SessionId, title: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update sessions set session_name = $2, named_by = 'model', version = version + 1
        where session_id = $1 and named_by is distinct from 'user'
        "#,
        session_id.as_str(),
        title,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the sessions with their runs, messages and costs. Ids that are not there, or not the caller's, are passed
/// over. `types`, if given, stands beside `session_ids`: a session of another type is not there.
pub async fn delete(
    db: &PgPool,
    scope: &Scope,
    session_ids: &[SessionId],
    types: Option<&[SessionType]>,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<&str> = session_ids.iter().map(SessionId::as_str).collect();
    let deleted = sqlx::query!(
        r#"
        delete from sessions s
        using unnest($1::text[], coalesce($2::session_type[], array_fill(null::session_type, array[cardinality($1)])))
            as gone (session_id, session_type)
        where s.session_id = gone.session_id
          and (gone.session_type is null or s.session_type = gone.session_type)
          and ($3::text is null or s.user_id = $3)
        "#,
        &ids as &[&str],
        types as Option<&[SessionType]>,
        scope.user(),
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

/// Tokens of a session for one purpose and model.
#[derive(Debug, Deserialize)]
struct UsageRow {
    purpose: String,
    #[serde(flatten)]
    usage: ModelUsage,
}

struct SessionRow {
    session_id: String,
    session_type: SessionType,
    component_id: Option<String>,
    user_id: Option<String>,
    session_name: Option<String>,
    session_state: Json<Map<String, Value>>,
    metadata: Json<Map<String, Value>>,
    version: i64,
    last_seq: i64,
    usage: Option<Json<Vec<UsageRow>>>,
    summary: Option<String>,
    topics: Option<Vec<String>>,
    summarized_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl SessionRow {
    fn into_session(self) -> Session {
        let summary = self.summary.zip(self.summarized_at);
        let topics = self.topics.unwrap_or_default();
        Session {
            summary: summary.map(|(summary, updated_at)| SessionSummary { summary, topics, updated_at }),
            session_id: SessionId::stored(self.session_id),
            session_type: self.session_type,
            component_id: self.component_id,
            user_id: self.user_id.map(UserId::stored),
            session_name: self.session_name,
            session_state: self.session_state.0,
            metadata: self.metadata.0,
            version: self.version,
            run_count: self.last_seq,
            usage: RunMetrics::of(by_purpose(self.usage.map(|rows| rows.0).unwrap_or_default())),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

fn by_purpose(rows: Vec<UsageRow>) -> UsageDetails {
    let mut details = UsageDetails::default();
    for row in rows {
        match row.purpose.as_str() {
            "summary" => details.session_summary_model.push(row.usage),
            "memory" => details.memory_model.push(row.usage),
            _ => details.model.push(row.usage),
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_name_are_ordinary_characters() {
        let filter = SessionFilter { session_name: Some(r"100%_\".into()), ..SessionFilter::default() };
        assert_eq!(filter.name_pattern().unwrap(), r"%100\%\_\\%");
    }
}
