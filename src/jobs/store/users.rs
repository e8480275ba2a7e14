//! The users whom jobs are about.
//!
//! *Architecture Invariant:* no statement joins the tables of the queue's library with ours. Where data is distributed,
//! they are not in the same place.

use std::collections::HashSet;

use sqlx::{PgConnection, PgExecutor, PgPool};

use crate::jobs::{Job, share_of};
use crate::model::{RunId, TenantId, UserId};

/// Whose share of the workers the job takes. `None` for work of the server's own.
pub(in crate::jobs) async fn share(connection: &mut PgConnection, job: &Job) -> Result<Option<String>, sqlx::Error> {
    let (tenant, user) = match job {
        Job::CleanUp | Job::TidyQueue | Job::EmbedNew => return Ok(None),
        Job::Learn { tenant_id, user_id } | Job::LearnAgain { tenant_id, user_id } => {
            (tenant_id, Some(user_id.as_str().to_owned()))
        }
        Job::FoldSession { tenant_id, session_id, .. } | Job::TitleSession { tenant_id, session_id, .. } => {
            let user = sqlx::query_scalar!(
                "select user_id from sessions where tenant_id = $1 and session_id = $2",
                tenant_id.as_str(),
                session_id.as_str(),
            );
            (tenant_id, user.fetch_optional(connection).await?.flatten())
        }
        Job::DeliverWebhook { tenant_id, run_id } => {
            let user = sqlx::query_scalar!(
                "select user_id from runs where tenant_id = $1 and run_id = $2",
                tenant_id.as_str(),
                *run_id as RunId,
            );
            (tenant_id, user.fetch_optional(connection).await?.flatten())
        }
    };
    Ok(Some(share_of(tenant, user.as_deref())))
}

struct UserRow {
    tenant_id: String,
    user_id: String,
}

impl UserRow {
    fn into_user(self) -> (TenantId, UserId) {
        (TenantId::stored(self.tenant_id), UserId::stored(self.user_id))
    }
}

/// Users with unread turns in a fixed order, those after `after` first. Empty if there are no more.
pub(in crate::jobs) async fn with_unread_turns(
    db: &PgPool,
    after: Option<&(TenantId, UserId)>,
) -> Result<Vec<(TenantId, UserId)>, sqlx::Error> {
    // No id is empty.
    let (tenant, user) = after.map_or(("", ""), |(tenant, user)| (tenant.as_str(), user.as_str()));
    let rows = sqlx::query_as!(
        UserRow,
        "
        select distinct tenant_id, user_id
        from memory_turns
        where not set_aside and (tenant_id, user_id) > ($1, $2)
        order by tenant_id, user_id
        limit 1000
        ",
        tenant,
        user,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(UserRow::into_user).collect())
}

/// Those of the users who have both: unread turns that have failed, and some that have never been tried.
pub(in crate::jobs) async fn with_new_and_failed_turns(
    db: impl PgExecutor<'_>,
    users: impl Iterator<Item = (TenantId, UserId)>,
) -> Result<HashSet<(TenantId, UserId)>, sqlx::Error> {
    let (tenants, users) = columns(users);
    let rows = sqlx::query_as!(
        UserRow,
        r#"
        select u.tenant_id as "tenant_id!", u.user_id as "user_id!"
        from unnest($1::text[], $2::text[]) as u (tenant_id, user_id)
        where exists (
                select from memory_turns t
                where t.tenant_id = u.tenant_id and t.user_id = u.user_id and not t.set_aside and t.attempts > 0
            )
          and exists (
                select from memory_turns t
                where t.tenant_id = u.tenant_id and t.user_id = u.user_id and not t.set_aside and t.attempts = 0
            )
        "#,
        &tenants,
        &users,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(UserRow::into_user).collect())
}

/// Those of the users who have turns that were set aside.
pub(in crate::jobs) async fn with_turns_set_aside(
    db: impl PgExecutor<'_>,
    users: impl Iterator<Item = (TenantId, UserId)>,
) -> Result<HashSet<(TenantId, UserId)>, sqlx::Error> {
    let (tenants, users) = columns(users);
    let rows = sqlx::query_as!(
        UserRow,
        r#"
        select u.tenant_id as "tenant_id!", u.user_id as "user_id!"
        from unnest($1::text[], $2::text[]) as u (tenant_id, user_id)
        where exists (
            select from memory_turns t
            where t.tenant_id = u.tenant_id and t.user_id = u.user_id and t.set_aside
        )
        "#,
        &tenants,
        &users,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(UserRow::into_user).collect())
}

fn columns(users: impl Iterator<Item = (TenantId, UserId)>) -> (Vec<String>, Vec<String>) {
    users.map(|(tenant, user)| (tenant.as_str().to_owned(), user.as_str().to_owned())).unzip()
}
