//! Idempotency keys in PostgreSQL.

use sqlx::{PgConnection, PgPool};

use super::{ABANDONED_AFTER, Attempt, KEPT_FOR};
use crate::{
    database::interval,
    model::{SessionId, TenantId, UserId},
};

/// Claims the key if it is new, expired, or abandoned by a request that died before it created anything. A spent key is
/// never abandoned.
pub(crate) async fn claim(connection: &mut PgConnection, attempt: &Attempt) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "
        insert into idempotency_keys as k (tenant_id, scope, key, fingerprint, created_at)
        values ($1, $2, $3, $4, $5)
        on conflict (tenant_id, scope, key) do update set
            fingerprint = excluded.fingerprint,
            session_id = null,
            run_seq = null,
            status = null,
            body = null,
            etag = null,
            created_at = excluded.created_at
        where k.created_at < now() - $6::interval
           or (k.status is null and k.session_id is null and k.created_at < now() - $7::interval)
        ",
        attempt.tenant_id.as_str(),
        attempt.scope,
        attempt.key,
        attempt.fingerprint,
        attempt.at,
        interval(KEPT_FOR),
        interval(ABANDONED_AFTER),
    )
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() > 0)
}

/// Spends the key on the session that the request creates or extends, or on the run that it starts. `false` if another
/// attempt has the key.
pub(crate) async fn attach(
    connection: &mut PgConnection,
    attempt: &Attempt,
    session_id: &SessionId,
    run_seq: Option<i64>,
) -> Result<bool, sqlx::Error> {
    let attached = sqlx::query!(
        "
        update idempotency_keys set session_id = $5, run_seq = $6
        where tenant_id = $1 and scope = $2 and key = $3 and created_at = $4
        ",
        attempt.tenant_id.as_str(),
        attempt.scope,
        attempt.key,
        attempt.at,
        session_id.as_str(),
        run_seq,
    )
    .execute(connection)
    .await?;
    Ok(attached.rows_affected() > 0)
}

/// What is known of the first request with a key.
pub(crate) struct First {
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) session_id: Option<String>,
    pub(crate) run_seq: Option<i64>,
    pub(crate) status: Option<i16>,
    pub(crate) body: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) has_expired: bool,
    pub(crate) is_abandoned: bool,
}

pub(crate) async fn find(db: &PgPool, attempt: &Attempt) -> Result<Option<First>, sqlx::Error> {
    sqlx::query_as!(
        First,
        r#"
        select fingerprint, session_id, run_seq, status, body, etag,
               created_at < now() - $4::interval as "has_expired!", created_at < now() - $5::interval as "is_abandoned!"
        from idempotency_keys
        where tenant_id = $1 and scope = $2 and key = $3
        "#,
        attempt.tenant_id.as_str(),
        attempt.scope,
        attempt.key,
        interval(KEPT_FOR),
        interval(ABANDONED_AFTER),
    )
    .fetch_optional(db)
    .await
}

pub(crate) async fn keep(
    db: &PgPool,
    attempt: &Attempt,
    status: u16,
    body: &str,
    etag: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update idempotency_keys set status = $5, body = $6, etag = $7
        where tenant_id = $1 and scope = $2 and key = $3 and created_at = $4
        ",
        attempt.tenant_id.as_str(),
        attempt.scope,
        attempt.key,
        attempt.at,
        i16::try_from(status).unwrap_or_default(),
        body,
        etag,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn release(db: &PgPool, attempt: &Attempt) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        delete from idempotency_keys
        where tenant_id = $1 and scope = $2 and key = $3 and created_at = $4 and status is null and session_id is null
        ",
        attempt.tenant_id.as_str(),
        attempt.scope,
        attempt.key,
        attempt.at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes the keys whose answer or run is the user's. A stored answer is JSON that names the session.
pub(crate) async fn delete_of_user(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
) -> Result<i64, sqlx::Error> {
    let removed = sqlx::query!(
        "
        delete from idempotency_keys k
        where k.tenant_id = $1
          and (
              k.body::json ->> 'user_id' = $2
              or exists (
                  select from sessions s
                  where s.tenant_id = $1 and s.session_id in (k.session_id, k.body::json ->> 'session_id')
                    and s.user_id = $2
              )
              or exists (
                  select from runs r
                  where r.tenant_id = $1 and r.session_id = k.session_id and r.seq = k.run_seq and r.user_id = $2
              )
          )
        ",
        tenant.as_str(),
        user.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(i64::try_from(removed.rows_affected()).unwrap_or(i64::MAX))
}

/// Deletes at most `limit` expired keys, tenant by tenant (see `events::store::delete_events`).
pub(crate) async fn remove_old(db: &PgPool, limit: i64) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "
        with recursive tenant as (
            select min(tenant_id) as tenant_id from idempotency_keys
            union all
            select (select min(k.tenant_id) from idempotency_keys k where k.tenant_id > tenant.tenant_id)
            from tenant
            where tenant.tenant_id is not null
        )
        delete from idempotency_keys k
        using (
            select old.tenant_id, old.scope, old.key
            from tenant
            cross join lateral (
                select tenant_id, scope, key
                from idempotency_keys
                where tenant_id = tenant.tenant_id and created_at < now() - $1::interval
                limit $2
            ) old
            limit $2
        ) old
        where k.tenant_id = old.tenant_id and k.scope = old.scope and k.key = old.key
          and k.created_at < now() - $1::interval
        ",
        interval(KEPT_FOR),
        limit,
    )
    .execute(db)
    .await?;
    Ok(removed.rows_affected())
}
