//! The job queue: the adapter to the library `graphile_worker`, whose tables are in a schema of their own.

mod learning;
mod putting_back;
mod schema;
mod workers;

use graphile_worker::TaskHandler;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, types::Json};

use self::workers::Queued;
use super::{Job, share_of, store::users};
use crate::{
    app::App,
    database::{Namespace, quoted},
    model::{TenantId, UserId},
};

pub use self::{
    learning::{hasten_learning, unpark_learning, users_without_job},
    schema::migrate,
    workers::{run_due, spawn_workers, tidy},
};

/// A user's waiting jobs are counted up to this number for the priority of the next one.
const MOST_COUNTED: i64 = 1_000;
/// The priority of a job that somebody asked for: before all others.
const FIRST: i32 = -1;

/// The schema of the queue, unless the installation has one of its own. Statements name this one; [`sql`] replaces it.
const USUAL_SCHEMA: &str = "graphile_worker";

/// The statement with the schema of the installation's queue. Safe: it consists of constants and a quoted name.
pub(super) fn sql(namespace: &Namespace, statement: &str) -> AssertSqlSafe<String> {
    let own = format!("{}.", quoted(&namespace.queue));
    AssertSqlSafe(statement.replace(&format!("{USUAL_SCHEMA}."), &own))
}

/// Enqueues a job, in the transaction of `connection`. The job has all its attempts, even if a job with its key has
/// failed for good: that one is replaced.
pub async fn enqueue(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    add(&app.namespace, connection, job, None).await
}

/// Like [`enqueue`], for a job that somebody asked for: it goes before all others, and tries its model even if the
/// circuit breaker is open.
pub async fn enqueue_first(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    add(&app.namespace, connection, job, Some(FIRST)).await
}

/// Like [`enqueue`], but does nothing if a job with its key is waiting, is running or has failed for good.
pub async fn enqueue_unless_there(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    let is_there = "select exists (select from graphile_worker._private_jobs where key = $1)";
    let is_there = sqlx::query_scalar(sql(&app.namespace, is_there));
    if is_there.bind(job.key()).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    enqueue(app, connection, job).await
}

/// Adds a job as one that has failed for good, until somebody retries it. If a job with its key exists and is not
/// running, only the reason is updated.
pub async fn park(app: &App, connection: &mut PgConnection, job: &Job, reason: &str) -> Result<(), sqlx::Error> {
    let note = "update graphile_worker._private_jobs set last_error = $2 where key = $1 and locked_at is null";
    let note = sqlx::query(sql(&app.namespace, note));
    let noted = note.bind(job.key()).bind(reason).execute(&mut *connection).await?;
    if noted.rows_affected() == 0 {
        enqueue(app, connection, job).await?;
        sqlx::query(sql(
            &app.namespace,
            "update graphile_worker._private_jobs set attempts = max_attempts, last_error = $2
             where key = $1 and locked_at is null",
        ))
        .bind(job.key())
        .bind(reason)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// `priority` overrides the one that is computed from the user's waiting jobs.
async fn add(
    namespace: &Namespace,
    connection: &mut PgConnection,
    job: &Job,
    priority: Option<i32>,
) -> Result<(), sqlx::Error> {
    let share = users::share(connection, job).await?;
    // The new job replaces one that has failed for good; the library would keep both.
    sqlx::query(sql(
        namespace,
        "delete from graphile_worker._private_jobs where key = $1 and locked_at is null and attempts >= max_attempts",
    ))
    .bind(job.key())
    .execute(&mut *connection)
    .await?;
    // Not checked by the macros: the library's schema does not exist at compile time. Jobs with a low priority number
    // come first, so the user with the fewest waiting jobs is served first: thousands of jobs of one user do not delay
    // the others.
    sqlx::query(sql(
        namespace,
        "
        select from graphile_worker.add_job(
            $1, ($6 || jsonb_build_object('share', $8::text))::json, queue_name => $2, max_attempts => $3,
            job_key => $4,
            priority => coalesce(
                $7,
                (select priority::integer from graphile_worker._private_jobs where key = $4 and locked_at is null),
                (
                    select count(*)::integer from (
                        select from graphile_worker._private_jobs where payload ->> 'share' = $8 and is_available limit $5
                    ) waiting
                )
            ),
            -- Workers skip jobs of kinds that they do not know.
            flags => array[$6 ->> 'kind']
        )
        ",
    ))
    .bind(Queued::IDENTIFIER)
    .bind(job.line())
    .bind(job.max_attempts())
    .bind(job.key())
    .bind(MOST_COUNTED)
    .bind(Json(job))
    .bind(priority)
    .bind(share)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a job with this key waits for its first attempt or another one.
pub async fn is_waiting(app: &App, db: impl PgExecutor<'_>, job: &Job) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(sql(
        &app.namespace,
        "
        select exists (
            select from graphile_worker._private_jobs
            where key = $1 and locked_at is null and attempts < max_attempts
        )
        ",
    ))
    .bind(job.key())
    .fetch_one(db)
    .await
}

/// Whether a job with this key has used up all its attempts.
pub async fn has_failed(app: &App, job: &Job) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(sql(
        &app.namespace,
        "
        select exists (
            select from graphile_worker._private_jobs
            where key = $1 and locked_at is null and attempts >= max_attempts
        )
        ",
    ))
    .bind(job.key())
    .fetch_one(&app.db)
    .await
}

/// Counts an attempt that was made elsewhere on behalf of a waiting job.
pub async fn count_attempt(app: &App, job: &Job, reason: &str) -> Result<(), sqlx::Error> {
    sqlx::query(sql(
        &app.namespace,
        "update graphile_worker._private_jobs set attempts = attempts + 1, last_error = $2
         where key = $1 and locked_at is null and attempts < max_attempts",
    ))
    .bind(job.key())
    .bind(reason)
    .execute(&app.db)
    .await?;
    Ok(())
}

/// Removes a job that is not running.
pub async fn forget(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    let statement = "delete from graphile_worker._private_jobs where key = $1 and locked_at is null";
    sqlx::query(sql(&app.namespace, statement)).bind(job.key()).execute(connection).await?;
    Ok(())
}

/// Deletes the jobs that name the user, or a session or run of theirs, and returns how many.
///
/// A running job is not deleted, but gets another attempt if it has none left: that finds nothing to do and completes.
pub async fn forget_user(
    app: &App,
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql(
        &app.namespace,
        "
        with about as (
            select id, locked_at is null as is_idle
            from graphile_worker._private_jobs
            where payload ->> 'tenant_id' = $1 and (payload ->> 'user_id' = $2 or payload ->> 'share' = $3)
        ), kept as (
            update graphile_worker._private_jobs j set max_attempts = greatest(j.max_attempts, j.attempts + 1)
            from about
            where j.id = about.id and not about.is_idle
        ), forgotten as (
            delete from graphile_worker._private_jobs j
            using about
            where j.id = about.id and about.is_idle and j.locked_at is null
            returning j.id
        )
        select count(*) from forgotten
        ",
    ))
    .bind(tenant.as_str())
    .bind(user.as_str())
    .bind(share_of(tenant, Some(user.as_str())))
    .fetch_one(connection)
    .await
}
