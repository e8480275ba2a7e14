//! The jobs that learn from what users said: those that are missing, delayed without need, or about nothing.

use std::collections::HashSet;

use super::sql;
use crate::{
    app::App,
    database::{self, Planning},
    jobs::{Job, store::users},
    model::{TenantId, UserId},
};

/// A job about a user: its id, and the two parts of the user's key.
#[derive(sqlx::FromRow)]
struct AboutUser {
    id: i64,
    tenant_id: Option<String>,
    user_id: Option<String>,
}

impl AboutUser {
    fn user(&self) -> Option<(TenantId, UserId)> {
        let (tenant, user) = (self.tenant_id.clone()?, self.user_id.clone()?);
        Some((TenantId::stored(tenant), UserId::stored(user)))
    }

    fn is_about_any_of(&self, users: &HashSet<(TenantId, UserId)>) -> bool {
        self.user().is_some_and(|user| users.contains(&user))
    }
}

/// Makes learn jobs, or only this one, due now if their user has turns that have never been tried: the backoff for
/// turns that failed must not delay new ones.
pub async fn hasten_learning(app: &App, job: Option<&Job>) -> Result<(), sqlx::Error> {
    let mut planning = Planning::of(&app.db).await?;
    let delayed: Vec<AboutUser> = sqlx::query_as(sql(
        &app.namespace,
        "
        select id, payload ->> 'tenant_id' as tenant_id, payload ->> 'user_id' as user_id
        from graphile_worker._private_jobs
        where ($1::text is null or key = $1) and payload ->> 'kind' = 'learn'
          and locked_at is null and attempts < max_attempts and run_at > now()
        ",
    ))
    .bind(job.map(Job::key))
    // Planned anew each time: by the key if there is a job, through all jobs if there is none.
    .persistent(false)
    .fetch_all(planning.connection())
    .await?;
    planning.done().await?;
    if delayed.is_empty() {
        return Ok(());
    }
    let learners = users::with_new_and_failed_turns(&app.db, delayed.iter().filter_map(AboutUser::user)).await?;
    let hastened: Vec<i64> = delayed.iter().filter(|job| job.is_about_any_of(&learners)).map(|job| job.id).collect();
    sqlx::query(sql(
        &app.namespace,
        "
        update graphile_worker._private_jobs set run_at = now()
        where id = any($1) and locked_at is null and attempts < max_attempts and run_at > now()
        ",
    ))
    .bind(hastened)
    .execute(&app.db)
    .await?;
    Ok(())
}

/// Deletes the failed jobs that stand for set-aside turns if no such turn is left, because their sessions are gone.
pub async fn unpark_learning(app: &App) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    // Locked, so that a turn that is set aside meanwhile is not taken for one of these jobs: `park` then adds another.
    let parked: Vec<AboutUser> = sqlx::query_as(sql(
        &app.namespace,
        "
        select id, payload ->> 'tenant_id' as tenant_id, payload ->> 'user_id' as user_id
        from graphile_worker._private_jobs
        where payload ->> 'kind' = 'learn_again' and locked_at is null and attempts >= max_attempts
        for update skip locked
        ",
    ))
    .fetch_all(&mut *tx)
    .await?;
    if !parked.is_empty() {
        let learners = users::with_turns_set_aside(&mut *tx, parked.iter().filter_map(AboutUser::user)).await?;
        let needless: Vec<i64> =
            parked.iter().filter(|job| !job.is_about_any_of(&learners)).map(|job| job.id).collect();
        let delete = "delete from graphile_worker._private_jobs where id = any($1)";
        sqlx::query(sql(&app.namespace, delete)).bind(needless).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Up to `limit` users who have unread turns but no job to learn from them, not even one that has failed for good.
pub async fn users_without_job(app: &App, limit: i64) -> Result<Vec<(TenantId, UserId)>, sqlx::Error> {
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut found: Vec<(TenantId, UserId)> = Vec::new();
    let mut page = users::with_unread_turns(&app.db, None).await?;
    while let (Some(last), true) = (page.last().cloned(), found.len() < limit) {
        let keys: Vec<String> = page.iter().map(|user| learn(user).key()).collect();
        // A job without a key has been replaced by another one.
        let there = "select key from graphile_worker._private_jobs where key = any($1)";
        let there: HashSet<String> =
            sqlx::query_scalar(sql(&app.namespace, there)).bind(keys).fetch_all(&app.db).await?.into_iter().collect();
        found.extend(page.into_iter().filter(|user| !there.contains(&learn(user).key())));
        page = users::with_unread_turns(&app.db, Some(&last)).await?;
    }
    found.truncate(limit);
    Ok(found)
}

fn learn((tenant_id, user_id): &(TenantId, UserId)) -> Job {
    Job::Learn { tenant_id: tenant_id.clone(), user_id: user_id.clone() }
}
