//! What is done by the clock: the database's, so that a process whose own is wrong delays and hastens nothing.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Job, queue};
use crate::{
    app::App,
    database::{self, interval},
};

/// What is done again and again, and how long after the last time.
const SCHEDULE: [(Job, Duration); 2] =
    [(Job::CleanUp, Duration::from_mins(1)), (Job::TidyQueue, Duration::from_mins(30))];
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Queues what is due, as long as the process lives.
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

/// Of several processes one queues it. A last time that lies ahead is no time: the clock was wrong then, or is right now.
async fn queue_if_due(app: &App, job: &Job, every: Duration) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    let taken = sqlx::query!(
        "
        insert into schedule (job, queued_at)
        select $1, now()
        where not exists (
            select from schedule where job = $1 and queued_at > now() - $2::interval and queued_at <= now()
        )
        on conflict (job) do update set queued_at = excluded.queued_at
        where schedule.queued_at <= excluded.queued_at - $2::interval or schedule.queued_at > excluded.queued_at
        ",
        job.key(),
        interval(every),
    )
    .execute(&mut *tx)
    .await?;
    if taken.rows_affected() > 0 {
        queue::enqueue(app, &mut tx, job).await?;
    }
    tx.commit().await
}
