//! Whole conversations, copied inside of PostgreSQL.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::{Scope, SessionId};

/// What to copy, and what to call the copy.
#[derive(Debug)]
pub struct CopyOrigin<'a> {
    pub session_id: &'a SessionId,
    /// The last run to copy; `None` for all.
    pub up_to_seq: Option<i64>,
    pub session_name: Option<&'a str>,
    pub at: DateTime<Utc>,
}

/// Copies a session to `copy_id`. `false` if no run to copy has ended. Violates `sessions_pkey` when the id is in use.
pub async fn fork(
    connection: &mut PgConnection,
    scope: &Scope,
    origin: &CopyOrigin<'_>,
    copy_id: &SessionId,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_file!(
        "src/sessions/store/fork.sql",
        scope.tenant(),
        origin.session_id.as_str(),
        scope.user(),
        copy_id.as_str(),
        origin.up_to_seq,
        origin.session_name,
        origin.at,
    )
    .fetch_one(connection)
    .await?;
    Ok(row.copied > 0)
}
