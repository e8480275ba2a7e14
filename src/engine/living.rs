//! Registration and heartbeats of this process, and a new registration after others have declared it dead.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::recovery;
use crate::{
    app::App,
    clock,
    model::{ProcessId, RunError},
    processes::{Registry, store},
};

/// Registers this process and starts its heartbeats. Each heartbeat triggers a search for orphaned runs. `alone`: no
/// other process can reach the database.
pub(crate) async fn start(app: &Arc<App>, alone: bool) -> anyhow::Result<()> {
    if alone {
        store::expire_all(&app.db).await?;
    }
    store::enter(&app.db, Registry::of(app).process(), lifetime(app)).await?;
    let (beats, beaten) = watch::channel(Instant::now());
    let (living, recovering) = (app.clone(), app.clone());
    app.tasks.spawn_service(async move { live(&living, &beats).await });
    // A task of its own: recovery must not delay the next heartbeat.
    app.tasks.spawn_service(async move { recover(&recovering, beaten).await });
    Ok(())
}

/// Expires the registration of this process. Other processes recover the runs that it still had.
pub(crate) async fn leave(app: &App) {
    if let Err(error) = store::leave(&app.db, Registry::of(app).process()).await {
        tracing::warn!(%error, "This process could not sign off; the others will notice.");
    }
}

/// Registers this process under a new id after others have declared it dead: no run is accepted under the old id.
pub(crate) async fn enter_anew(app: &App, buried: ProcessId) -> Result<(), sqlx::Error> {
    // A concurrent caller may have done it already.
    let runs = Registry::of(app);
    let _entering = runs.entering.lock().await;
    if runs.process() != buried {
        return Ok(());
    }
    let process = ProcessId::mint();
    store::enter(&app.db, process, lifetime(app)).await?;
    tracing::error!("This process was taken for dead: it did not reach the database in time. Its runs are ended.");
    for run in runs.be_reborn(process) {
        run.stop.stop(RunError::interrupted());
    }
    Ok(())
}

/// How long a heartbeat is valid: less than the lease, so that the time until another process looks still fits in.
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
        let process = Registry::of(app).process();
        let lives = match store::renew(&app.db, process, lifetime(app)).await {
            Ok(true) => {
                // After a database outage every process looks dead. Skip one round, so that the others can renew first.
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
    // At startup, spare late processes: like this one, they may just have been waiting for the database.
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
