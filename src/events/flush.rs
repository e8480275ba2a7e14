//! Stores the events of a run in batches while it is executed, so that readers elsewhere are less than a second behind.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{EventLog, store};
use crate::{app::App, clock, model::Claim};

/// Most runs end sooner; the last events of each run are stored with its outcome.
const INTERVAL: Duration = Duration::from_millis(500);

pub(crate) struct Storing<'a> {
    app: &'a App,
    claim: &'a Claim,
    events: &'a EventLog,
    stop: CancellationToken,
}

/// Prepares to store what `events` records.
pub(crate) fn keep_stored<'a>(app: &'a App, claim: &'a Claim, events: &'a EventLog) -> Storing<'a> {
    Storing { app, claim, events, stop: CancellationToken::new() }
}

impl Storing<'_> {
    /// Stops storing, because the run has ended: the remaining events are stored with its outcome.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Stores events until [`stop`](Self::stop) is called.
    pub(crate) async fn run(&self) {
        if !self.events.is_recording() {
            return;
        }
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
                _ = self.events.wants_flush() => {}
            }
            let batch = self.events.unstored();
            if batch.names.is_empty() {
                continue;
            }
            match store::append_events(&self.app.db, self.claim, &batch, clock::now()).await {
                Ok(()) => self.events.note_stored(&batch),
                Err(error) => {
                    tracing::warn!(run.id = %self.claim.run_id, %error, "The events of a run cannot be stored yet.");
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        }
    }
}

/// Deletes the events of streams that can no longer be resumed (`runs.keep_events`), in small batches.
pub async fn clean_up(app: &App) -> anyhow::Result<()> {
    const BATCH: i64 = 1_000;
    let mut removed = 0;
    loop {
        let batch = store::delete_events(&app.db, app.settings.runs.keep_events, BATCH).await?;
        removed += batch;
        if batch < BATCH.unsigned_abs() {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(batches = removed, "Removed events of streams that have expired.");
    }
    Ok(())
}
