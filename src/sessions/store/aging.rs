//! Deletes expired and inactive sessions, of all tenants and users. Pinned ones, and those with an active run, are kept.

use std::time::Duration;

use sqlx::PgPool;

use crate::database::{interval, tenants_with};

/// The most sessions that one statement deletes. The statements have it as a literal: with a parameter, a cached plan
/// would be made for a tenth of all rows.
pub const BATCH: usize = 100;

/// Tenants that are looked at together.
const TENANTS: i64 = 1_000;

/// The next tenants that have sessions, by their ids.
pub async fn tenants(db: &PgPool, after: &str) -> Result<Vec<String>, sqlx::Error> {
    tenants_with!("sessions", "true", after, TENANTS).fetch_all(db).await
}

/// Deletes expired sessions of these tenants, at most [`BATCH`]. Returns their components: agents, teams or workflows.
pub async fn delete_expired(db: &PgPool, tenants: &[String]) -> Result<Vec<Option<String>>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        delete from sessions
        where (tenant_id, session_id) in (
            select s.tenant_id, s.session_id
            from unnest($1::text[]) as t (tenant_id)
            cross join lateral (
                select tenant_id, session_id from sessions
                where sessions.tenant_id = t.tenant_id and expires_at <= now() and not pinned and active_seq is null
                limit 100
            ) s
            limit 100
        ) and expires_at <= now() and not pinned and active_seq is null
        returning component_id
        ",
        tenants,
    )
    .fetch_all(db)
    .await
}

/// Deletes sessions of these tenants that have been inactive for longer than `ago`, at most [`BATCH`]: those of
/// `component_id`, or, if it is `None`, all but those of `others`.
pub async fn delete_inactive(
    db: &PgPool,
    tenants: &[String],
    component_id: Option<&str>,
    others: &[&str],
    ago: Duration,
) -> Result<Vec<Option<String>>, sqlx::Error> {
    match component_id {
        Some(component_id) => {
            sqlx::query_scalar!(
                "
                delete from sessions
                where (tenant_id, session_id) in (
                    select s.tenant_id, s.session_id
                    from unnest($1::text[]) as t (tenant_id)
                    cross join lateral (
                        select tenant_id, session_id from sessions
                        where sessions.tenant_id = t.tenant_id and component_id = $2
                          and updated_at < now() - $3::interval and not pinned and active_seq is null
                        order by updated_at
                        limit 100
                    ) s
                    limit 100
                ) and updated_at < now() - $3::interval and not pinned and active_seq is null
                returning component_id
                ",
                tenants,
                component_id,
                interval(ago),
            )
            .fetch_all(db)
            .await
        }
        None => {
            sqlx::query_scalar!(
                "
                delete from sessions
                where (tenant_id, session_id) in (
                    select s.tenant_id, s.session_id
                    from unnest($1::text[]) as t (tenant_id)
                    cross join lateral (
                        select tenant_id, session_id from sessions
                        where sessions.tenant_id = t.tenant_id and updated_at < now() - $3::interval
                          and not pinned and active_seq is null
                          and (component_id is null or component_id <> all($2::text[]))
                        order by updated_at
                        limit 100
                    ) s
                    limit 100
                ) and updated_at < now() - $3::interval and not pinned and active_seq is null
                returning component_id
                ",
                tenants,
                others as &[&str],
                interval(ago),
            )
            .fetch_all(db)
            .await
        }
    }
}
