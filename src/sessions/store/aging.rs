//! Deletes expired and inactive sessions, of all users. Pinned ones, and those with an active run, are kept.

use std::time::Duration;

use sqlx::PgPool;

use crate::database::interval;

/// Deletes at most `limit` expired sessions. Returns their components: agents, teams or workflows.
pub async fn delete_expired(db: &PgPool, limit: i64) -> Result<Vec<Option<String>>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        delete from sessions
        where session_id in (
            select session_id from sessions
            where expires_at <= now() and not pinned and active_seq is null
            limit $1
        ) and expires_at <= now() and not pinned and active_seq is null
        returning component_id
        ",
        limit,
    )
    .fetch_all(db)
    .await
}

/// Deletes at most `limit` sessions that have been inactive for longer than `ago`: those of `component_id`, or, if it
/// is `None`, all but those of `others`.
pub async fn delete_inactive(
    db: &PgPool,
    component_id: Option<&str>,
    others: &[&str],
    ago: Duration,
    limit: i64,
) -> Result<Vec<Option<String>>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        delete from sessions
        where session_id in (
            select session_id from sessions
            where updated_at < now() - $3::interval and not pinned and active_seq is null
              and case when $1::text is null then component_id is null or component_id <> all($2::text[])
                       else component_id = $1 end
            order by updated_at
            limit $4
        ) and updated_at < now() - $3::interval and not pinned and active_seq is null
        returning component_id
        ",
        component_id,
        others as &[&str],
        interval(ago),
        limit,
    )
    .fetch_all(db)
    .await
}
