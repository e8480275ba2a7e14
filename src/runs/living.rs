//! This process among the living: signs of life, and a new name when the others have buried it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    model::{ProcessId, RunError},
    recovery, store,
};
use crate::{app::App, clock};

/// Enters this process among the living and begins to give signs of life, after each of which it looks for runs that
/// nobody executes. `alone`: no other process can reach the database.
pub(super) async fn start(app: &Arc<App>, alone: bool) -> anyhow::Result<()> {
    if alone {
        store::expire_all(&app.db).await?;
    }
    store::enter(&app.db, app.runs.process(), lifetime(app)).await?;
    let (beats, beaten) = watch::channel(Instant::now());
    let (living, recovering) = (app.clone(), app.clone());
    app.tasks.spawn_service(async move { live(&living, &beats).await });
    // By itself, so that the next sign of life does not wait for it.
    app.tasks.spawn_service(async move { recover(&recovering, beaten).await });
    Ok(())
}

/// Leaves the living; whatever this process still had is for the others.
pub(super) async fn leave(app: &App) {
    if let Err(error) = store::leave(&app.db, app.runs.process()).await {
        tracing::warn!(%error, "This process could not sign off; the others will notice.");
    }
}

/// Gives this process a new name, after the others have buried the one that it had: nothing is accepted under that.
pub(super) async fn enter_anew(app: &App, buried: ProcessId) -> Result<(), sqlx::Error> {
    // Whoever comes second finds it done.
    let _entering = app.runs.entering.lock().await;
    if app.runs.process() != buried {
        return Ok(());
    }
    let process = ProcessId::mint();
    store::enter(&app.db, process, lifetime(app)).await?;
    tracing::error!("This process was taken for dead: it did not reach the database in time. Its runs are ended.");
    for run in app.runs.be_reborn(process) {
        run.stop.stop(RunError::interrupted());
    }
    Ok(())
}

/// A sign of life is good for less than the lease, so that with the time until somebody looks it is just that.
fn lifetime(app: &App) -> Duration {
    app.settings.runs.lease * 7 / 10
}

fn beat(app: &App) -> Duration {
    app.settings.runs.lease / 5
}

async fn live(app: &App, beats: &watch::Sender<Instant>) {
    let mut ticks = interval(beat(app));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        if let Err(error) = clock::follow(&app.db).await {
            tracing::warn!(%error, "The database's clock could not be read; this process counts on by its own.");
        }
        let process = app.runs.process();
        let lives = match store::renew(&app.db, process, lifetime(app)).await {
            Ok(true) => {
                // After an absence of the database everybody seems dead: first let them say that they are not.
                if is_recent(app, last) {
                    beats.send_replace(Instant::now());
                }
                last = Instant::now();
                Ok(())
            }
            Ok(false) => enter_anew(app, process).await,
            Err(error) => Err(error),
        };
        if let Err(error) = lives {
            tracing::warn!(%error, "No sign of life could be given: the database does not answer.");
        }
    }
}

async fn recover(app: &Arc<App>, mut beaten: watch::Receiver<Instant>) {
    // Who is late now may only have waited for the database, as this process has.
    recovery::recover(app, false).await;
    while beaten.changed().await.is_ok() {
        let last = *beaten.borrow_and_update();
        if is_recent(app, last) {
            recovery::recover(app, true).await;
        }
    }
}

fn is_recent(app: &App, last: Instant) -> bool {
    last.elapsed() < beat(app) * 2
}
