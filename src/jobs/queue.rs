//! The queue: the edge to the library `graphile_worker`, whose rows live in a schema of their own.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use graphile_worker::worker_utils::types::CleanupTask;
use graphile_worker::{IntoTaskHandlerResult, TaskHandler, Worker, WorkerContext, WorkerOptions, WorkerUtils};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool, types::Json};

use super::{Job, schedule};
use crate::{
    app::App,
    auth::UserId,
    database::{Namespace, Planning, is_pooled, quoted},
    memories,
};

const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// Where the queue is unless the installation has a schema of its own. Statements name this one; [`sql`] puts in the other.
const USUAL_SCHEMA: &str = "graphile_worker";

/// The statement on the installation's own queue. It is made of constants and a quoted name.
pub(super) fn sql(namespace: &Namespace, statement: &str) -> AssertSqlSafe<String> {
    let own = format!("{}.", quoted(&namespace.queue));
    AssertSqlSafe(statement.replace(&format!("{USUAL_SCHEMA}."), &own))
}

/// Brings the queue's own schema up to date.
pub async fn migrate(db: &PgPool, namespace: &Namespace) -> anyhow::Result<()> {
    let utils = WorkerUtils::new(db, namespace.queue.as_str());
    utils.migrate().await.context("the schema of the job queue could not be brought up to date")?;
    if namespace.queue != USUAL_SCHEMA {
        take_over(db, namespace).await.context("the jobs that an older build left could not be taken over")?;
    }
    Ok(())
}

/// Takes jobs of this installation out of the queue that older builds kept for all schemas of a database.
async fn take_over(db: &PgPool, namespace: &Namespace) -> Result<(), sqlx::Error> {
    let is_there = "select to_regclass('graphile_worker._private_jobs') is not null";
    if !sqlx::query_scalar::<_, bool>(is_there).fetch_one(db).await? {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    let jobs: Vec<Json<Value>> = sqlx::query_scalar(
        "
        delete from graphile_worker._private_jobs j
        where j.locked_at is null and j.attempts < j.max_attempts
          and (exists (select from sessions s where s.session_id = j.payload ->> 'session_id')
               or exists (select from runs r where r.run_id = (j.payload ->> 'run_id')::uuid)
               or exists (select from memory_turns t where t.user_id = j.payload ->> 'user_id'))
        returning j.payload
        ",
    )
    .fetch_all(&mut *tx)
    .await?;
    for Json(payload) in jobs {
        // One that this build does not know, an older one cannot have left.
        if let Ok(job) = serde_json::from_value(payload) {
            enqueue_in(namespace, &mut tx, &job).await?;
        }
    }
    tx.commit().await
}

/// Puts a job in the queue when the transaction of `connection` commits.
pub async fn enqueue(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    enqueue_in(&app.namespace, connection, job).await
}

async fn enqueue_in(namespace: &Namespace, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    // The new one takes the place of one that has failed for good; the library would keep both.
    sqlx::query(sql(
        namespace,
        "delete from graphile_worker._private_jobs where key = $1 and locked_at is null and attempts >= max_attempts",
    ))
    .bind(job.key())
    .execute(&mut *connection)
    .await?;
    // The library's own function; its schema is not there when the macros check their statements.
    sqlx::query(sql(
        namespace,
        "select from graphile_worker.add_job($1, $2::jsonb::json, queue_name => $3, max_attempts => $4, job_key => $5)",
    ))
    .bind(Queued::IDENTIFIER)
    .bind(Json(job))
    .bind(job.line())
    .bind(job.max_attempts())
    .bind(job.key())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether this job, or one of its key, is still to begin, for the first time or once more.
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

/// Lets jobs that learn, or this one alone, begin their next attempt now where turns wait that no answer was refused to: an
/// attempt that failed for another turn is no reason to wait.
pub async fn hasten_learning(app: &App, job: Option<&Job>) -> Result<(), sqlx::Error> {
    let mut planning = Planning::of(&app.db).await?;
    sqlx::query(sql(
        &app.namespace,
        "
        update graphile_worker._private_jobs j set run_at = now()
        where ($1::text is null or j.key = $1) and j.payload ->> 'kind' = 'learn'
          and j.locked_at is null and j.attempts > 0 and j.attempts < j.max_attempts and j.run_at > now()
          and exists (select from memory_turns t where t.user_id = j.payload ->> 'user_id' and t.refused)
          and exists (select from memory_turns t where t.user_id = j.payload ->> 'user_id' and not t.refused)
        ",
    ))
    .bind(job.map(Job::key))
    // Planned each time: by its key for one job, through all of them for none.
    .persistent(false)
    .execute(planning.connection())
    .await?;
    planning.done().await
}

/// Removes a job that is not running.
pub async fn forget(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    let statement = "delete from graphile_worker._private_jobs where key = $1 and locked_at is null";
    sqlx::query(sql(&app.namespace, statement)).bind(job.key()).execute(connection).await?;
    Ok(())
}

/// Removes the jobs that name the user, or a session or run of theirs; call it while these are there. Answers how many.
///
/// One that is running finds nothing to do at its next attempt, which it is given for that, and is gone.
pub async fn forget_user(app: &App, connection: &mut PgConnection, user: &UserId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql(
        &app.namespace,
        "
        with about as (
            select j.id, j.locked_at is null as is_idle
            from graphile_worker._private_jobs j
            where j.payload ->> 'user_id' = $1
               or exists (
                   select from sessions s
                   where s.session_id = j.payload ->> 'session_id' and s.user_id = $1
               )
               or exists (
                   select from runs r join sessions s using (session_id)
                   where r.run_id = (j.payload ->> 'run_id')::uuid and coalesce(s.user_id, r.user_id) = $1
               )
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
    .bind(user.as_str())
    .fetch_one(connection)
    .await
}

/// Some of the users with unread turns for which there is no job, not even one that has failed for good.
pub async fn users_without_job(app: &App, limit: i64) -> Result<Vec<UserId>, sqlx::Error> {
    let users: Vec<String> = sqlx::query_scalar(sql(
        &app.namespace,
        "
        select distinct t.user_id
        from memory_turns t
        where not exists (
            select from graphile_worker._private_jobs j
            where j.payload ->> 'kind' = 'learn' and j.payload ->> 'user_id' = t.user_id
              -- Another has taken the place of one without its key.
              and j.key is not null
        )
        limit $1
        ",
    ))
    .bind(limit)
    .fetch_all(&app.db)
    .await?;
    Ok(users.into_iter().map(UserId::stored).collect())
}

/// Starts the workers of this process, as many as the settings say. They finish what they have begun when the process
/// is told to stop; when something else stops them, such as a database that is away, they begin anew.
pub fn spawn_workers(app: &Arc<App>) {
    if app.settings.jobs.workers == 0 {
        return;
    }
    let task_app = app.clone();
    let scheduled = app.clone();
    app.tasks.spawn_service(async move { schedule::keep(&scheduled).await });
    app.tasks.spawn(async move {
        let app = task_app;
        while !app.tasks.stopping().is_cancelled() {
            if let Err(error) = work(&app).await {
                app.workers_are_up.store(false, Ordering::Relaxed);
                tracing::warn!(error = format!("{error:#}"), "The workers have stopped; they begin anew.");
                let pause = tokio::time::sleep(RESTART_PAUSE);
                let _ = app.tasks.stopping().run_until_cancelled(pause).await;
            }
        }
    });
}

async fn work(app: &Arc<App>) -> anyhow::Result<()> {
    let worker = worker(app).await?;
    app.workers_are_up.store(true, Ordering::Relaxed);
    Ok(worker.run().await?)
}

/// Does all jobs that are due, and returns. For tests, which drive background work by hand.
pub async fn run_due(app: &Arc<App>) -> anyhow::Result<()> {
    memories::extraction::sweep(app).await?;
    Ok(worker(app).await?.run_once().await?)
}

/// Forgets the lines in which no job stands any more, and jobs that another has taken the place of while a process that
/// died was doing them: the library keeps these for ever.
pub(super) async fn tidy(app: &App) -> anyhow::Result<()> {
    sqlx::query(sql(
        &app.namespace,
        "
        delete from graphile_worker._private_jobs j
        using graphile_worker._private_job_retirements r
        where r.id = j.id and j.locked_at is null
        ",
    ))
    .execute(&app.db)
    .await?;
    Ok(WorkerUtils::new(&app.db, app.namespace.queue.as_str()).cleanup(&[CleanupTask::GcJobQueues]).await?)
}

async fn worker(app: &Arc<App>) -> anyhow::Result<Worker> {
    let settings = &app.settings.jobs;
    let lease = app.settings.runs.lease;
    let options = WorkerOptions::default()
        .pg_pool(app.direct.clone())
        .schema(app.namespace.queue.as_str())
        .use_notification_delivery(!is_pooled(&app.direct))
        .concurrency(settings.workers.max(1) as usize)
        .poll_interval(settings.poll_interval)
        .listen_os_shutdown_signals(false)
        .shutdown_signal(app.tasks.stopping().clone().cancelled_owned())
        .shutdown_grace_period(app.settings.server.shutdown_grace)
        .shutdown_interrupted_job_retry_delay(Duration::ZERO)
        // The jobs of a process that died are taken up by others: off unless it is asked for.
        .heartbeat_interval(lease / 3)
        .sweep_interval(lease / 3)
        .sweep_threshold(lease)
        .recovery_delay(Duration::ZERO)
        .add_extension(AppHandle(app.clone()))
        .define_job::<Queued>();
    options.init().await.context("the workers could not be started")
}

/// A job as the library sees it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Queued(Job);

impl TaskHandler for Queued {
    const IDENTIFIER: &'static str = "colloquy";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let Some(AppHandle(app)) = context.get_ext::<AppHandle>() else {
            return Err(Failure("the worker has no app".into()));
        };
        let outcome = self.0.clone().run(app).await;
        outcome.map_err(|error| {
            let (job, attempt) = (context.job().id(), context.job().attempts());
            let error = format!("{error:#}");
            tracing::warn!(job.id = job, job.key = self.0.key(), attempt, error, "A job failed.");
            Failure(error)
        })
    }
}

#[derive(Clone, Debug)]
struct AppHandle(Arc<App>);

/// Why a job failed. The library stores it as its `Debug` shows it.
struct Failure(String);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
