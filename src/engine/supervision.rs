//! The tasks that keep runs going independently of requests: heartbeats, recovery, cancel requests, and the taking of
//! background runs.
//!
//! All times that processes share are the database's, so their own clocks do not matter.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{MissedTickBehavior, interval};

use super::{living, start as starting};
use crate::{
    app::App,
    database::is_pooled,
    model::RunError,
    processes::{
        Registry,
        bus::Signal,
        store::{self, Fate, Served},
    },
};

/// How often the runs of this process are checked. This also finds cancel requests whose notification was lost.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const RELISTEN_INTERVAL: Duration = Duration::from_secs(5);

/// Registers this process and starts to supervise its runs.
pub async fn start(app: &Arc<App>, alone: bool) -> anyhow::Result<()> {
    living::start(app, alone).await?;
    let [looking, listening, taking, tending] = [(); 4].map(|()| app.clone());
    app.tasks.spawn_service(async move { look_after_runs(&looking).await });
    app.tasks.spawn_service(async move { listen(&listening).await });
    app.tasks.spawn_service(async move { take_background_runs(&taking).await });
    app.tasks.spawn_service(async move { tending.lanes.tend().await });
    Ok(())
}

/// Expires the registration of this process. Other processes recover the runs that it still had.
pub async fn end(app: &App) {
    app.lanes.close();
    living::leave(app).await;
}

/// Stops runs of this process that were cancelled or ended by others, or whose sessions were deleted.
async fn look_after_runs(app: &App) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Vec::new();
    loop {
        ticks.tick().await;
        // Only runs that were here at the last check too: most runs end before they need one.
        let now = Registry::of(app).all();
        let lasting: Vec<_> =
            now.iter().filter(|run| run.is_stored.get().is_some() && known.contains(&run.run_id)).collect();
        let ids: Vec<_> = lasting.iter().map(|run| (&run.tenant_id, run.run_id)).collect();
        if !ids.is_empty() {
            match store::look_after(&app.db, &ids).await {
                Ok(fates) => {
                    for run in lasting {
                        match fates.get(&run.run_id) {
                            Some(Fate::GoesOn) => {}
                            Some(Fate::ShallEnd) => run.stop.stop(RunError::cancelled("The run was cancelled.")),
                            Some(Fate::HasEnded) => run.stop.stop(RunError::interrupted()),
                            None => run.stop.stop(RunError::cancelled("The session was deleted during the run.")),
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "Runs cannot be looked after: the database does not answer."),
            }
        }
        known = now.iter().map(|run| run.run_id).collect();
    }
}

/// Listens for notifications of other processes. They only save time: everything is found by polling too.
async fn listen(app: &App) {
    if is_pooled(&app.direct) {
        return;
    }
    loop {
        if let Err(error) = hear(app).await {
            tracing::warn!(%error, "Other processes cannot be heard; looking instead.");
        }
        tokio::time::sleep(RELISTEN_INTERVAL).await;
    }
}

async fn hear(app: &App) -> Result<(), sqlx::Error> {
    // A connection outside of the pool, because it is never returned.
    let options = app.direct.connect_options().as_ref().clone();
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(&app.namespace.channel).await?;
    loop {
        let heard = listener.recv().await?;
        if let Some(message) = Signal::parse(heard.payload()) {
            message.heed(app);
        }
    }
}

/// Takes background runs whose turn it is, as many as this process may execute, until shutdown begins.
async fn take_background_runs(app: &Arc<App>) {
    let limit = app.settings.runs.background_concurrency;
    if limit == 0 {
        return;
    }
    let runs = Registry::of(app);
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut served = Served::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = runs.work.notified() => {}
            () = app.tasks.stopping().cancelled() => return,
        }
        let places = runs.reserve_background(limit);
        if places.count == 0 {
            continue;
        }
        let _taking = runs.taking.lock().await;
        let most = i64::try_from(places.count).unwrap_or(i64::MAX);
        match store::take(&app.db, runs.process(), most, &mut served).await {
            Ok(taken) => {
                for run in taken {
                    starting::go_on(app, run).await;
                }
            }
            Err(error) => tracing::warn!(%error, "Background runs cannot be taken: the database does not answer."),
        }
    }
}
