//! The queue of a session: its runs are executed one at a time, in the order in which they were accepted.
//!
//! The database decides whose turn it is; this file waits for a turn, and notifies the next run. Notifications only
//! save time: a waiting run polls too.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    Registry,
    bus::{self, Signal},
    registry::LiveRun,
    store,
};
use crate::{
    app::App,
    model::{Claim, RunError, RunErrorKind, SessionId, TenantId},
};

/// The first and the longest polling interval of a waiting run. The interval doubles with each poll.
const LOOK_INTERVALS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));

/// Waits until the claimed run may be executed, and then puts this process into the claim. Returns the session's state,
/// or the reason why the run ends without having begun.
pub async fn wait(app: &App, live: &LiveRun, claim: &mut Claim) -> Result<Map<String, Value>, RunError> {
    let runs = Registry::of(app);
    let deadline = Instant::now() + app.settings.runs.queue_timeout;
    let (mut interval, longest) = LOOK_INTERVALS;
    loop {
        let attempt = Claim { process: Some(runs.process()), ..claim.clone() };
        match store::begin(&app.db, &attempt).await {
            Ok(Some(state)) => {
                *claim = attempt;
                return Ok(state);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(run.id = %claim.run_id, %error, "A run cannot look whether it is its turn."),
        }
        tokio::select! {
            () = live.turn.notified() => {}
            () = tokio::time::sleep(interval) => interval = longest.min(interval * 2),
            reason = live.stop.stopped() => return Err(reason),
            () = app.tasks.stop_token().cancelled() => return Err(RunError::interrupted()),
            () = tokio::time::sleep_until(deadline) => {
                return Err(RunError {
                    kind: RunErrorKind::QueueTimeout,
                    message: format!(
                        "Session '{}' was busy for {} s; send the message again, or with background=true to wait longer",
                        claim.session_id,
                        app.settings.runs.queue_timeout.as_secs_f64()
                    ),
                });
            }
        }
    }
}

/// Notifies the run whose turn it is now.
pub async fn hand_over(app: &App, tenant: &TenantId, session_id: &SessionId, seq: i64) {
    let runs = Registry::of(app);
    match store::waiter(&app.db, tenant, session_id, seq).await {
        Ok(Some((_, None))) => {
            runs.work.notify_one();
            bus::tell(app, Signal::Work).await;
        }
        Ok(Some((run_id, Some(process)))) if process == runs.process() => bus::wake(app, run_id),
        Ok(Some((run_id, Some(_)))) => bus::tell(app, Signal::Turn(run_id)).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(session.id = %session_id, %error, "The next run of a session could not be told."),
    }
}
