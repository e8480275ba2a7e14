//! What is to be done: dirty sessions, the model that they were marked for, and whether a job is queued.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{
    database::{interval, tenants_with},
    model::{SessionId, TenantId},
};

/// Marks a session dirty.
pub(in crate::search::vectors) async fn note(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into unembedded_sessions (tenant_id, session_id, noted_at) values ($1, $2, $3)
        on conflict (tenant_id, session_id) do update set noted_at = excluded.noted_at
        "#,
        tenant.as_str(),
        session_id.as_str(),
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a job must be queued: none is waiting, or it has waited so long that it is lost. A time in the future counts
/// as lost too: it was written by a wrong clock.
pub(in crate::search::vectors) async fn needs_job(db: &PgPool, lost_after: Duration) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from embedding_state
            where job_waits_since is null or job_waits_since < now() - $1::interval or job_waits_since > now()
        ) as "exists!"
        "#,
        interval(lost_after),
    )
    .fetch_one(db)
    .await
}

/// Records that a job is queued now; `false` if none was needed.
pub(in crate::search::vectors) async fn claim_job(
    connection: &mut PgConnection,
    lost_after: Duration,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "
        update embedding_state set job_waits_since = now()
        where job_waits_since is null or job_waits_since < now() - $1::interval or job_waits_since > now()
        ",
        interval(lost_after),
    )
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() > 0)
}

pub(in crate::search::vectors) async fn set_job_waits(db: &PgPool, waits: bool) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set job_waits_since = case when $1 then now() end", waits).execute(db).await?;
    Ok(())
}

/// Whether there are dirty sessions.
pub(in crate::search::vectors) async fn has_noted(db: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from unembedded_sessions) as "exists!""#).fetch_one(db).await
}

/// Clears the stored model. From now on no session is marked dirty.
pub(in crate::search::vectors) async fn forget_model(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set model = null where model is not null").execute(db).await?;
    Ok(())
}

/// The model that all sessions were marked for; `None` if there is none.
pub(in crate::search::vectors) async fn model(db: &PgPool) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("select model from embedding_state").fetch_one(db).await
}

pub(in crate::search::vectors) async fn set_model(db: &PgPool, model: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set model = $1", model).execute(db).await?;
    Ok(())
}

/// Marks the next sessions after this one dirty, up to `limit`. Returns the last of them, or `None` if there are no
/// more.
pub(in crate::search::vectors) async fn note_next(
    db: &PgPool,
    (tenant_id, session_id): (&str, &str),
    limit: i64,
) -> Result<Option<(String, String)>, sqlx::Error> {
    let last = sqlx::query!(
        r#"
        with batch as (
            select tenant_id, session_id, updated_at
            from sessions
            where (tenant_id, session_id) > ($1, $2)
            order by tenant_id, session_id
            limit $3
        ), present as (
            select s.tenant_id, s.session_id, batch.updated_at
            from batch join sessions s using (tenant_id, session_id)
            for key share of s
        ), marked as (
            insert into unembedded_sessions (tenant_id, session_id, noted_at)
            select tenant_id, session_id, updated_at from present
            on conflict (tenant_id, session_id) do nothing
        )
        select tenant_id, session_id from batch order by tenant_id desc, session_id desc limit 1
        "#,
        tenant_id,
        session_id,
        limit,
    )
    .fetch_optional(db)
    .await?;
    Ok(last.map(|row| (row.tenant_id, row.session_id)))
}

/// Up to `limit` tenants after this one with dirty sessions.
pub(in crate::search::vectors) async fn tenants_with_noted(
    db: &PgPool,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, sqlx::Error> {
    tenants_with!("unembedded_sessions", "true", after, limit).fetch_all(db).await
}

/// A dirty session, and when it was marked.
#[derive(Debug)]
pub(in crate::search::vectors) struct Noted {
    tenant_id: String,
    session_id: String,
    noted_at: DateTime<Utc>,
}

/// Dirty sessions of these tenants, the last marked first, because questions are mostly about what was just said.
pub(in crate::search::vectors) async fn noted(
    db: &PgPool,
    tenants: &[String],
    limit: i64,
) -> Result<Vec<Noted>, sqlx::Error> {
    sqlx::query_as!(
        Noted,
        r#"
        select noted.tenant_id, noted.session_id, noted.noted_at
        from unnest($1::text[]) as tenant (tenant_id) cross join lateral (
            select u.tenant_id, u.session_id, u.noted_at
            from unembedded_sessions u
            where u.tenant_id = tenant.tenant_id
            order by u.noted_at desc
            limit $2
        ) noted
        order by noted.noted_at desc
        limit $2
        "#,
        tenants,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Clears the dirty marks, except of sessions that were marked again meanwhile.
pub(in crate::search::vectors) async fn are_done(db: &PgPool, sessions: &[Noted]) -> Result<(), sqlx::Error> {
    let (tenants, ids) = keys(sessions);
    let times: Vec<DateTime<Utc>> = sessions.iter().map(|noted| noted.noted_at).collect();
    sqlx::query!(
        r#"
        delete from unembedded_sessions u
        using unnest($1::text[], $2::text[], $3::timestamptz[]) as done (tenant_id, session_id, noted_at)
        where u.tenant_id = done.tenant_id and u.session_id = done.session_id and u.noted_at = done.noted_at
        "#,
        &tenants as &[&str],
        &ids as &[&str],
        &times,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The keys of these sessions, an array per column.
pub(super) fn keys(sessions: &[Noted]) -> (Vec<&str>, Vec<&str>) {
    sessions.iter().map(|noted| (noted.tenant_id.as_str(), noted.session_id.as_str())).unzip()
}
