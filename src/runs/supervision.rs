//! What keeps runs going while they are nobody's request: signs of life, recovery, wishes to cancel, and background runs
//! that are free to take.
//!
//! All times between processes are the database's, so their own clocks do not matter.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    living,
    model::RunError,
    service,
    store::{self, Fate},
    turns::Message,
};
use crate::{app::App, database::is_pooled};

/// How often runs are looked after: a cancel that nobody told of takes effect within this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const RELISTEN_INTERVAL: Duration = Duration::from_secs(5);

/// Enters this process among the living and starts looking after its runs.
pub async fn start(app: &Arc<App>, alone: bool) -> anyhow::Result<()> {
    living::start(app, alone).await?;
    let [looking, listening, taking] = [(); 3].map(|()| app.clone());
    app.tasks.spawn_service(async move { look_after_runs(&looking).await });
    app.tasks.spawn_service(async move { listen(&listening).await });
    app.tasks.spawn_service(async move { take_background_runs(&taking).await });
    Ok(())
}

/// Leaves the living; whatever this process still had is for the others.
pub async fn end(app: &App) {
    living::leave(app).await;
}

/// Ends the runs of this process that shall end, or whose sessions are gone.
async fn look_after_runs(app: &App) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Vec::new();
    loop {
        ticks.tick().await;
        // Those that were here at the last look too: most runs end before they would be looked at.
        let now = app.runs.all();
        let lasting: Vec<_> =
            now.iter().filter(|run| run.is_stored.get().is_some() && known.contains(&run.run_id)).collect();
        let ids: Vec<_> = lasting.iter().map(|run| run.run_id).collect();
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

/// Hears what other processes say. Without this everything still works, a little later.
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
    // A connection beside the pool: it is never given back.
    let options = app.direct.connect_options().as_ref().clone();
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(&app.namespace.channel).await?;
    loop {
        let heard = listener.recv().await?;
        if let Some(message) = Message::parse(heard.payload()) {
            message.heed(app);
        }
    }
}

/// Takes background runs whose turn it is, as many as this process may execute, until it is told to stop.
async fn take_background_runs(app: &Arc<App>) {
    let limit = app.settings.runs.background_concurrency;
    if limit == 0 {
        return;
    }
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The user whose turn was last.
    let mut served = String::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.runs.work.notified() => {}
            () = app.tasks.stopping().cancelled() => return,
        }
        let places = app.runs.reserve_background(limit);
        if places.count == 0 {
            continue;
        }
        let _taking = app.runs.taking.lock().await;
        let most = i64::try_from(places.count).unwrap_or(i64::MAX);
        match store::take(&app.db, app.runs.process(), most, &mut served).await {
            Ok(taken) => {
                for run in taken {
                    service::go_on(app, run).await;
                }
            }
            Err(error) => tracing::warn!(%error, "Background runs cannot be taken: the database does not answer."),
        }
    }
}
