//! Puts back jobs that cannot be done now, without the loss of an attempt.

use std::time::Duration;

use graphile_worker::Job;
use serde_json::Value;

use super::{sql, workers::Failure};
use crate::app::App;

/// How long a job that this build cannot read waits until it is tried again.
const UNREADABLE_PAUSE: Duration = Duration::from_mins(1);

/// Resets the priority: somebody asked for this attempt, not for later ones.
pub(super) async fn ask_no_more(app: &App, job: &Job) -> Result<(), sqlx::Error> {
    let reset = "update graphile_worker._private_jobs set priority = 0 where id = $1";
    let reset = sqlx::query(sql(&app.namespace, reset));
    reset.bind(job.id()).execute(&app.db).await.map(drop)
}

/// Leaves a job of a newer build to processes of that build.
pub(super) async fn leave(app: &App, job: &Job, payload: &Value) -> Failure {
    let kind = payload["kind"].as_str().unwrap_or("unknown");
    // With this flag, workers that do not know the kind do not take the job again.
    let flag = "update graphile_worker._private_jobs set flags = jsonb_build_object($2::text, true) where id = $1";
    if let Err(error) = sqlx::query(sql(&app.namespace, flag)).bind(job.id()).bind(kind).execute(&app.db).await {
        tracing::warn!(job.id = job.id(), %error, "A job that this build cannot read could not be marked.");
    }
    put_back(app, job, UNREADABLE_PAUSE).await;
    tracing::warn!(job.id = job.id(), kind, "A job cannot be read by this build: it is left to a newer one.");
    Failure(format!(
        "This process cannot read the job, which is of the kind {kind}: it waits for a newer build of Colloquy"
    ))
}

/// Gives a job its attempt back, and delays it. The job is still locked, so nobody takes it before the library releases
/// it as failed, which adds the library's own pause: e^n seconds after n earlier attempts, so 1 second if there are
/// none. A job that was replaced has no key, and stays done.
pub(super) async fn put_back(app: &App, job: &Job, after: Duration) {
    let put_back = sqlx::query(sql(
        &app.namespace,
        "
        update graphile_worker._private_jobs
        set attempts = greatest(attempts - 1, 0), run_at = now() + make_interval(secs => $2)
        where id = $1 and key is not null
        ",
    ));
    if let Err(error) = put_back.bind(job.id()).bind(after.as_secs_f64()).execute(&app.db).await {
        tracing::warn!(job.id = job.id(), %error, "A job could not be put back: it has lost an attempt.");
    }
}
