//! Scheduled jobs. They follow the database's clock, so a process with a wrong clock neither delays nor hastens them.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Job, queue, store};
use crate::{app::App, database};

/// The scheduled jobs, and how long after the last time each is due again.
const SCHEDULE: [(Job, Duration); 2] =
    [(Job::CleanUp, Duration::from_mins(1)), (Job::TidyQueue, Duration::from_mins(30))];
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Enqueues the jobs that are due, as long as the process lives.
pub(super) async fn keep(app: &App) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (job, every) in SCHEDULE {
            if let Err(error) = queue_if_due(app, &job, every).await {
                tracing::warn!(%error, job.key = job.key(), "A regular job could not be queued; trying again soon.");
            }
        }
    }
}

/// If several processes try, only one enqueues the job.
async fn queue_if_due(app: &App, job: &Job, every: Duration) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    if store::note_queued(&mut tx, job, every).await? {
        queue::enqueue(app, &mut tx, job).await?;
    }
    tx.commit().await
}
