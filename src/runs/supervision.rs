//! What keeps runs going while they are nobody's request: signs of life, recovery of dead processes' runs, wishes to
//! cancel, and background runs that are free to take.
//!
//! All times between processes are the database's, so their own clocks do not matter.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    model::{ProcessId, RunError},
    recovery, service,
    store::{self, Fate},
    turns::Message,
};
use crate::{app::App, clock, database::is_pooled};

/// How often runs are looked after: a cancel that nobody told of takes effect within this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const RELISTEN_INTERVAL: Duration = Duration::from_secs(5);

/// Enters this process among the living and starts looking after its runs.
pub async fn start(app: &Arc<App>, alone: bool) -> anyhow::Result<()> {
    if alone {
        store::expire_all(&app.db).await?;
        recovery::recover(app).await?;
    }
    store::enter(&app.db, app.runs.process(), lifetime(app), app.runs.oldest_run()).await?;
    let each = [(); 4].map(|()| app.clone());
    let [living, looking, listening, taking] = each;
    app.tasks.spawn_service(async move { live(&living).await });
    app.tasks.spawn_service(async move { look_after_runs(&looking).await });
    app.tasks.spawn_service(async move { listen(&listening).await });
    app.tasks.spawn_service(async move { take_background_runs(&taking).await });
    Ok(())
}

/// Leaves the living; whatever this process still had is for the others.
pub async fn end(app: &App) {
    if let Err(error) = store::leave(&app.db, app.runs.process()).await {
        tracing::warn!(%error, "This process could not sign off; the others will notice.");
    }
}

/// A sign of life is good for less than the lease, so that with the time until somebody looks it is just that.
fn lifetime(app: &App) -> Duration {
    app.settings.runs.lease * 7 / 10
}

async fn live(app: &Arc<App>) {
    let beat = app.settings.runs.lease / 5;
    let mut ticks = interval(beat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        if let Err(error) = clock::follow(&app.db).await {
            tracing::warn!(%error, "The database's clock could not be read; this process counts on by its own.");
        }
        match store::renew(&app.db, app.runs.process(), lifetime(app), app.runs.oldest_run()).await {
            Ok(true) => {
                // After an absence of the database everybody seems dead: first let them say that they are not.
                let was_continuous = last.elapsed() < beat * 2;
                last = Instant::now();
                if was_continuous && let Err(error) = recovery::recover(app).await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "The runs of dead processes could not be recovered yet."
                    );
                }
            }
            Ok(false) => be_reborn(app).await,
            Err(error) => tracing::warn!(%error, "No sign of life could be given: the database does not answer."),
        }
    }
}

/// The others have taken this process for dead, and its runs away.
async fn be_reborn(app: &App) {
    tracing::error!("This process was taken for dead: it did not reach the database in time. Its runs are ended.");
    let process: ProcessId = app.runs.be_reborn();
    for run in app.runs.all() {
        run.stop.stop(RunError::interrupted());
    }
    if let Err(error) = store::enter(&app.db, process, lifetime(app), app.runs.oldest_run()).await {
        tracing::warn!(%error, "This process could not sign on again yet.");
    }
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
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.runs.work.notified() => {}
            () = app.tasks.stopping().cancelled() => return,
        }
        let free = app.runs.free_background(limit);
        if free == 0 {
            continue;
        }
        match store::take(&app.db, app.runs.process(), i64::try_from(free).unwrap_or(i64::MAX)).await {
            Ok(taken) => taken.into_iter().for_each(|run| service::go_on(app, run)),
            Err(error) => tracing::warn!(%error, "Background runs cannot be taken: the database does not answer."),
        }
    }
}
