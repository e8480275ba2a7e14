//! The queue: the edge to the library `graphile_worker`, whose rows live in a schema of their own.

mod putting_back;

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

use super::{Job, KINDS, Later, schedule};
use crate::{
    app::App,
    auth::UserId,
    database::{self, Namespace, Planning, is_pooled, quoted},
    llm::ModelError,
    memories,
};

/// More of a user's jobs than these are all the same.
const MOST_COUNTED: i64 = 1_000;
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// What the library's own statements need, all of them short.
const POOL_SIZE: u32 = 4;
/// Before those that nobody asked for.
const FIRST: i32 = -1;

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
    index_shares(db, namespace).await.context("the job queue could not be indexed")?;
    if namespace.queue != USUAL_SCHEMA {
        take_over(db, namespace).await.context("the jobs that an older build left could not be taken over")?;
    }
    Ok(())
}

/// Processes that start together wait for each other: `if not exists` alone lets two of them try.
async fn index_shares(db: &PgPool, namespace: &Namespace) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(db).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('colloquy_jobs_by_share'))").execute(&mut *tx).await?;
    sqlx::query(sql(
        namespace,
        "
        create index if not exists colloquy_jobs_by_share on graphile_worker._private_jobs ((payload ->> 'share'))
            where is_available
        ",
    ))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Takes jobs of this installation out of the queue that older builds kept for all schemas of a database.
async fn take_over(db: &PgPool, namespace: &Namespace) -> Result<(), sqlx::Error> {
    let is_there = "select to_regclass('graphile_worker._private_jobs') is not null";
    if !sqlx::query_scalar::<_, bool>(is_there).fetch_one(db).await? {
        return Ok(());
    }
    let mut tx = database::begin(db).await?;
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
            add(namespace, &mut tx, &job, None).await?;
        }
    }
    tx.commit().await
}

/// Puts a job in the queue when the transaction of `connection` commits. It begins with all its attempts, even if one of
/// its key has failed.
pub async fn enqueue(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    add(&app.namespace, connection, job, None).await
}

/// The same for a job that somebody has asked for: it goes before the others, and tries a model that is left alone.
pub async fn enqueue_first(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    add(&app.namespace, connection, job, Some(FIRST)).await
}

/// The same for work that is not begun anew: one of its key that waits, runs or has failed for good stays as it is.
pub async fn enqueue_unless_there(app: &App, connection: &mut PgConnection, job: &Job) -> Result<(), sqlx::Error> {
    let is_there = "select exists (select from graphile_worker._private_jobs where key = $1)";
    let is_there = sqlx::query_scalar(sql(&app.namespace, is_there));
    if is_there.bind(job.key()).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    enqueue(app, connection, job).await
}

/// Shows a job among those that have failed for good, until somebody retries it.
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

/// `priority`: instead of the user's share.
async fn add(
    namespace: &Namespace,
    connection: &mut PgConnection,
    job: &Job,
    priority: Option<i32>,
) -> Result<(), sqlx::Error> {
    // The new one takes the place of one that has failed for good; the library would keep both.
    sqlx::query(sql(
        namespace,
        "delete from graphile_worker._private_jobs where key = $1 and locked_at is null and attempts >= max_attempts",
    ))
    .bind(job.key())
    .execute(&mut *connection)
    .await?;
    // The library's own function; its schema is not there when the macros check their statements. Jobs of a low number come
    // first, so whoever has the fewest waiting is served first: thousands of one user's do not hold up everybody's.
    sqlx::query(sql(
        namespace,
        "
        with share as (
            select case
                when $6 ->> 'user_id' is not null then $6 ->> 'user_id'
                when $6 ->> 'session_id' is not null
                    then coalesce((select user_id from sessions where session_id = $6 ->> 'session_id'), '')
                when $6 ->> 'run_id' is not null
                    then coalesce((select user_id from runs where run_id = ($6 ->> 'run_id')::uuid), '')
            end as share
        )
        select from share, graphile_worker.add_job(
            $1, ($6 || jsonb_build_object('share', share))::json, queue_name => $2, max_attempts => $3, job_key => $4,
            priority => coalesce(
                $7,
                (select priority::integer from graphile_worker._private_jobs where key = $4 and locked_at is null),
                (
                    select count(*)::integer from (
                        select from graphile_worker._private_jobs where payload ->> 'share' = share and is_available limit $5
                    ) waiting
                )
            ),
            -- By which a worker leaves jobs of kinds that it does not know to others.
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

/// Whether a job of this key has used up all its attempts.
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

/// Counts an attempt that was made in the place of a job that waits.
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

/// Lets jobs that learn, or this one alone, begin now where turns wait that no model was shown yet: that others have to be
/// tried again is no reason to wait.
pub async fn hasten_learning(app: &App, job: Option<&Job>) -> Result<(), sqlx::Error> {
    let mut planning = Planning::of(&app.db).await?;
    sqlx::query(sql(
        &app.namespace,
        "
        update graphile_worker._private_jobs j set run_at = now()
        where ($1::text is null or j.key = $1) and j.payload ->> 'kind' = 'learn'
          and j.locked_at is null and j.attempts < j.max_attempts and j.run_at > now()
          and exists (
              select from memory_turns t
              where t.user_id = j.payload ->> 'user_id' and not t.set_aside and t.attempts > 0
          )
          and exists (
              select from memory_turns t
              where t.user_id = j.payload ->> 'user_id' and not t.set_aside and t.attempts = 0
          )
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
                   -- A job of a newer build may have an id of another form.
                   where r.run_id = case when j.payload ->> 'run_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                        then (j.payload ->> 'run_id')::uuid end
                     and coalesce(s.user_id, r.user_id) = $1
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

/// Removes the jobs that stand for turns set aside of which none is left: their sessions are gone.
pub async fn unpark_learning(app: &App) -> Result<(), sqlx::Error> {
    sqlx::query(sql(
        &app.namespace,
        "
        delete from graphile_worker._private_jobs j
        where j.payload ->> 'kind' = 'learn_again' and j.locked_at is null and j.attempts >= j.max_attempts
          and not exists (select from memory_turns t where t.user_id = j.payload ->> 'user_id' and t.set_aside)
        ",
    ))
    .execute(&app.db)
    .await?;
    Ok(())
}

/// Some of the users with unread turns for which there is no job, not even one that has failed for good.
pub async fn users_without_job(app: &App, limit: i64) -> Result<Vec<UserId>, sqlx::Error> {
    let users: Vec<String> = sqlx::query_scalar(sql(
        &app.namespace,
        "
        select distinct t.user_id
        from memory_turns t
        where not t.set_aside and not exists (
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

/// Connections for the library alone. When it stops it drops what it has begun, and a transaction that is dropped while it
/// begins stays open on its connection: these are closed with the workers, and no run is ever stored over them.
fn own_pool(app: &App) -> PgPool {
    let options = app.direct.options().clone().min_connections(0).max_connections(POOL_SIZE);
    options.connect_lazy_with(app.direct.connect_options().as_ref().clone())
}

async fn worker(app: &Arc<App>) -> anyhow::Result<Worker> {
    let settings = &app.settings.jobs;
    let lease = app.settings.runs.lease;
    let options = WorkerOptions::default()
        .pg_pool(own_pool(app))
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
        .job_flag_allowlist(KINDS)
        .define_job::<Queued>();
    options.init().await.context("the workers could not be started")
}

/// A job as the library sees it: it may be one of a newer build.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Queued(Value);

impl TaskHandler for Queued {
    const IDENTIFIER: &'static str = "colloquy";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let Some(AppHandle(app)) = context.get_ext::<AppHandle>() else {
            return Err(Failure("the worker has no app".into()));
        };
        let Ok(job) = Job::deserialize(&self.0) else {
            return Err(putting_back::leave(app, context.job(), &self.0).await);
        };
        if i32::from(*context.job().priority()) == FIRST {
            app.breakers.allow_a_try();
            if let Err(error) = putting_back::ask_no_more(app, context.job()).await {
                return Err(Failure(error.to_string()));
            }
        }
        let key = job.key();
        let Err(error) = job.run(app).await else { return Ok(()) };
        let (id, attempt) = (context.job().id(), context.job().attempts());
        let text = format!("{error:#}");
        if let Some(later) = error.downcast_ref::<Later>() {
            tracing::info!(job.id = id, job.key = key, reason = text, "A job is put back.");
            putting_back::put_back(app, context.job(), later.after).await;
        } else {
            // Whoever lists jobs is told less than the log.
            let detail = error.chain().find_map(|cause| Some(&cause.downcast_ref::<ModelError>()?.detail));
            tracing::warn!(job.id = id, job.key = key, attempt, error = text, detail, "A job failed.");
        }
        Err(Failure(text))
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
