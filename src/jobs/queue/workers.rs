//! The workers of this process.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use futures::future::BoxFuture;
use graphile_worker::{
    IntoTaskHandlerResult, TaskHandler, Worker, WorkerContext, WorkerOptions, WorkerUtils,
    worker_utils::types::CleanupTask,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;

use super::{FIRST, putting_back, sql};
use crate::{
    app::App,
    database::is_pooled,
    jobs::{Job, KINDS, Later, schedule},
    llm::ModelError,
};

const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// Connections for the library's own statements, which are all short.
const POOL_SIZE: u32 = 4;

/// Executes a job. The flag is `true` if somebody asked for this attempt. An error means another attempt.
pub type Dispatch = fn(Arc<App>, Job, bool) -> BoxFuture<'static, anyhow::Result<()>>;

/// Starts the workers of this process, as many as the settings say. On shutdown they finish the jobs that they have
/// begun. If something else stops them, such as an outage of the database, they are restarted.
pub fn spawn_workers(app: &Arc<App>, dispatch: Dispatch) {
    if app.settings.jobs.workers == 0 {
        return;
    }
    let task_app = app.clone();
    let scheduled = app.clone();
    app.tasks.spawn_service(async move { schedule::keep(&scheduled).await });
    app.tasks.spawn(async move {
        let app = task_app;
        while !app.tasks.stopping().is_cancelled() {
            if let Err(error) = work(&app, dispatch).await {
                app.workers_are_up.store(false, Ordering::Relaxed);
                tracing::warn!(error = format!("{error:#}"), "The workers have stopped; they begin anew.");
                let pause = tokio::time::sleep(RESTART_PAUSE);
                let _ = app.tasks.stopping().run_until_cancelled(pause).await;
            }
        }
    });
}

async fn work(app: &Arc<App>, dispatch: Dispatch) -> anyhow::Result<()> {
    let worker = worker(app, dispatch).await?;
    app.workers_are_up.store(true, Ordering::Relaxed);
    Ok(worker.run().await?)
}

/// Executes all jobs that are due, and returns. For tests, which drive background work by hand.
pub async fn run_due(app: &Arc<App>, dispatch: Dispatch) -> anyhow::Result<()> {
    Ok(worker(app, dispatch).await?.run_once().await?)
}

/// Deletes the library's queues that have no jobs any more, and jobs that were replaced while a process that died was
/// executing them: the library keeps the latter for ever.
pub async fn tidy(app: &App) -> anyhow::Result<()> {
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

/// A connection pool for the library alone. When the library stops, it drops its pending futures, and a transaction
/// that is dropped during `BEGIN` stays open on its connection. These connections are closed with the workers, and no
/// run is ever stored over them.
fn own_pool(app: &App) -> PgPool {
    let options = app.direct.options().clone().min_connections(0).max_connections(POOL_SIZE);
    options.connect_lazy_with(app.direct.connect_options().as_ref().clone())
}

async fn worker(app: &Arc<App>, dispatch: Dispatch) -> anyhow::Result<Worker> {
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
        // Other processes take over the jobs of a process that died. The library does this only if it is configured.
        .heartbeat_interval(lease / 3)
        .sweep_interval(lease / 3)
        .sweep_threshold(lease)
        .recovery_delay(Duration::ZERO)
        .add_extension(Doer { app: app.clone(), dispatch })
        .job_flag_allowlist(KINDS)
        .define_job::<Queued>();
    options.init().await.context("the workers could not be started")
}

/// A job as the library sees it, as raw JSON: it may come from a newer build.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Queued(Value);

impl TaskHandler for Queued {
    const IDENTIFIER: &'static str = "colloquy";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let Some(Doer { app, dispatch }) = context.get_ext::<Doer>() else {
            return Err(Failure("the worker has no app".into()));
        };
        let Ok(job) = Job::deserialize(&self.0) else {
            return Err(putting_back::leave(app, context.job(), &self.0).await);
        };
        let is_asked_for = i32::from(*context.job().priority()) == FIRST;
        if is_asked_for && let Err(error) = putting_back::ask_no_more(app, context.job()).await {
            return Err(Failure(error.to_string()));
        }
        let key = job.key();
        let Err(error) = dispatch(app.clone(), job, is_asked_for).await else { return Ok(()) };
        let (id, attempt) = (context.job().id(), context.job().attempts());
        let text = format!("{error:#}");
        if let Some(later) = error.downcast_ref::<Later>() {
            tracing::info!(job.id = id, job.key = key, reason = text, "A job is put back.");
            putting_back::put_back(app, context.job(), later.after).await;
        } else {
            // The detail goes to the log only, not into the list of jobs.
            let detail = error.chain().find_map(|cause| Some(&cause.downcast_ref::<ModelError>()?.detail));
            tracing::warn!(job.id = id, job.key = key, attempt, error = text, detail, "A job failed.");
        }
        Err(Failure(text))
    }
}

#[derive(Clone, Debug)]
struct Doer {
    app: Arc<App>,
    dispatch: Dispatch,
}

/// Why a job failed. The library stores its `Debug` output.
pub(super) struct Failure(pub(super) String);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
