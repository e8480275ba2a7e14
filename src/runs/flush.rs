//! Stores the events of a run while it goes on, in batches: whoever reads elsewhere is less than a second behind.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

use super::{
    events::EventLog,
    store::{self, Claim},
};
use crate::{app::App, clock};

/// Most runs are over before; the last events of each are stored with its end.
const INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Storing<'a> {
    app: &'a App,
    claim: &'a Claim,
    events: &'a EventLog,
    stop: CancellationToken,
}

/// Prepares to store what `events` records.
pub(super) fn keep_stored<'a>(app: &'a App, claim: &'a Claim, events: &'a EventLog) -> Storing<'a> {
    Storing { app, claim, events, stop: CancellationToken::new() }
}

impl Storing<'_> {
    /// The run has ended: what is not stored yet is stored with its end.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Stores events until it is stopped.
    pub(super) async fn run(&self) {
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
