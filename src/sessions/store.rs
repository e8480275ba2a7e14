//! Sessions in PostgreSQL: SQL in, rows out. Every statement filters by a [`Scope`].
//!
//! This file has the statements on one session or on given ids. `filtered` has those on all sessions that match a
//! filter, `words` their full-text search, `estimates` the planner's row estimates that they depend on; `parts` has
//! those on runs and messages; `copies`, `exports` and `imports` those on whole conversations; `aging` those that delete
//! old ones.

mod aging;
mod copies;
mod estimates;
mod exports;
mod filtered;
mod imports;
mod parts;
mod rows;
mod words;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, types::Json};

use crate::model::{NamedBy, Scope, Session, SessionId, SessionType, TenantId, UserId};

pub use self::aging::{BATCH, delete_expired, delete_inactive, tenants};
pub use self::copies::{CopyOrigin, fork};
pub use self::exports::{ExportedLine, export_head, export_lines};
pub use self::filtered::{ListedSession, Part, Selection, count, delete_matching, list, write_list};
pub use self::imports::{
    add_usage, count_imported, import_outcomes, import_runs, import_session, import_steps, import_summaries,
    runs_elsewhere,
};
pub use self::parts::{delete_message, delete_run, find_message, find_run, touch};
use self::rows::{SESSION_COLUMNS, SessionRow};
pub use self::words::Words;

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
pub async fn insert(connection: &mut PgConnection, tenant: &TenantId, session: &NewSession) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into sessions (
            tenant_id, session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata,
            created_at, updated_at
        )
        values ($1, $2, $3, $4, $5, $6, case when $6::text is null then null else 'user'::named_by end, $7, $8, $9, $9)
        "#,
        tenant.as_str(),
        session.session_id.as_str(),
        session.session_type as SessionType,
        session.component_id,
        session.user_id.as_ref().map(UserId::as_str),
        session.session_name,
        Json(&session.session_state) as _,
        Json(&session.metadata) as _,
        session.at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn find(db: &PgPool, scope: &Scope, session_id: &SessionId) -> Result<Option<Session>, sqlx::Error> {
    fetch_one(db, scope, session_id, "").await
}

/// Like [`find`], and locks the session's row until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
) -> Result<Option<Session>, sqlx::Error> {
    fetch_one(connection, scope, session_id, " for update of s").await
}

async fn fetch_one(
    executor: impl sqlx::PgExecutor<'_>,
    scope: &Scope,
    session_id: &SessionId,
    lock: &'static str,
) -> Result<Option<Session>, sqlx::Error> {
    let mut sql = QueryBuilder::<Postgres>::new("select ");
    sql.push(SESSION_COLUMNS).push(" from sessions s where s.tenant_id = ").push_bind(scope.tenant());
    sql.push(" and s.session_id = ").push_bind(session_id.as_str());
    sql.push(" and (").push_bind(scope.user()).push("::text is null or s.user_id = ").push_bind(scope.user()).push(")");
    let row: Option<SessionRow> = sql.push(lock).build_query_as().fetch_optional(executor).await?;
    Ok(row.map(SessionRow::into_session))
}

/// The fields of a session that a user can edit, after an edit.
#[derive(Debug)]
pub struct Edited<'a> {
    pub session_name: Option<&'a str>,
    pub named_by: Option<NamedBy>,
    pub session_state: &'a Map<String, Value>,
    pub metadata: &'a Map<String, Value>,
    pub archived_at: Option<DateTime<Utc>>,
    pub pinned: bool,
    pub expires_at: Option<DateTime<Utc>>,
    pub at: DateTime<Utc>,
}

/// Stores an edit. The caller has locked the session with [`lock`].
pub async fn write(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    edited: &Edited<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update sessions
        set session_name = $4,
            named_by = $5,
            session_state = $6,
            metadata = $7,
            archived_at = $8,
            pinned = $9,
            expires_at = $10,
            updated_at = greatest(updated_at, $11),
            version = version + 1
        where tenant_id = $1 and session_id = $2 and ($3::text is null or user_id = $3)
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        edited.session_name,
        edited.named_by as Option<NamedBy>,
        Json(edited.session_state) as _,
        Json(edited.metadata) as _,
        edited.archived_at,
        edited.pinned,
        edited.expires_at,
        edited.at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The user's first message that is not empty.
pub async fn first_input(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select r.input
        from runs r join sessions s using (tenant_id, session_id)
        where r.tenant_id = $1 and r.session_id = $2 and ($3::text is null or s.user_id = $3) and r.input <> ''
        order by r.seq
        limit 1
        ",
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
    )
    .fetch_optional(connection)
    .await
}

/// Deletes the sessions with their runs, messages and token usage. Ids that do not exist or are out of scope are
/// ignored. `types`, if given, is parallel to `session_ids`: a session of another type is ignored.
pub async fn delete(
    db: impl sqlx::PgExecutor<'_>,
    scope: &Scope,
    session_ids: &[SessionId],
    types: Option<&[SessionType]>,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<&str> = session_ids.iter().map(SessionId::as_str).collect();
    let deleted = sqlx::query!(
        r#"
        delete from sessions s
        using unnest($2::text[], coalesce($3::session_type[], array_fill(null::session_type, array[cardinality($2)])))
            as gone (session_id, session_type)
        where s.tenant_id = $1
          and s.session_id = gone.session_id
          and (gone.session_type is null or s.session_type = gone.session_type)
          and ($4::text is null or s.user_id = $4)
        "#,
        scope.tenant(),
        &ids as &[&str],
        types as Option<&[SessionType]>,
        scope.user(),
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
