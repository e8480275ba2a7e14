//! Turns: runs of a session are executed one at a time, in the order in which they were accepted.
//!
//! The database knows whose turn it is; this file waits for it, and tells the next one. Being told only saves time:
//! whoever waits also looks by itself.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    model::{RunError, RunErrorKind, RunId},
    registry::LiveRun,
    store::{self, Claim},
};
use crate::{app::App, sessions::SessionId};

/// How often a waiting run looks for itself: seldom, once it has waited for long.
const LOOK_INTERVALS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));

/// Waits until the claimed run may be executed; from then on the claim is this process's. Answers the session's state,
/// or why there is nothing to wait for any more.
pub(super) async fn wait(app: &App, live: &LiveRun, claim: &mut Claim) -> Result<Map<String, Value>, RunError> {
    let deadline = Instant::now() + app.settings.runs.queue_timeout;
    let (mut interval, longest) = LOOK_INTERVALS;
    loop {
        let attempt = Claim { process: Some(app.runs.process()), ..claim.clone() };
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

/// Tells the run whose turn it is.
pub(super) async fn hand_over(app: &App, session_id: &SessionId, next_seq: Option<i64>) {
    let Some(seq) = next_seq else { return };
    match store::waiter(&app.db, session_id, seq).await {
        Ok(Some((_, None))) => {
            app.runs.work.notify_one();
            tell(app, &Message::Work).await;
        }
        Ok(Some((run_id, Some(process)))) if process == app.runs.process() => wake(app, run_id),
        Ok(Some((run_id, Some(_)))) => tell(app, &Message::Turn(run_id)).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(session.id = %session_id, %error, "The next run of a session could not be told."),
    }
}

fn wake(app: &App, run_id: RunId) {
    if let Some(run) = app.runs.get(run_id) {
        run.turn.notify_one();
    }
}

/// What processes tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It may be this run's turn.
    Turn(RunId),
    /// This run shall end.
    Cancel(RunId),
    /// A background run may be free to take.
    Work,
}

impl Message {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let run_id = |id: &str| Uuid::parse_str(id).ok().map(RunId);
        match text.split_once(' ') {
            Some(("turn", id)) => run_id(id).map(Self::Turn),
            Some(("cancel", id)) => run_id(id).map(Self::Cancel),
            None if text == "work" => Some(Self::Work),
            _ => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Turn(run_id) => format!("turn {run_id}"),
            Self::Cancel(run_id) => format!("cancel {run_id}"),
            Self::Work => "work".into(),
        }
    }

    /// Does here what the message asks for.
    pub(super) fn heed(self, app: &App) {
        match self {
            Self::Turn(run_id) => wake(app, run_id),
            Self::Cancel(run_id) => {
                if let Some(run) = app.runs.get(run_id) {
                    run.stop.stop(RunError::cancelled("The run was cancelled."));
                }
            }
            Self::Work => app.runs.work.notify_one(),
        }
    }
}

/// Tells all processes, this one too.
pub(super) async fn tell(app: &App, message: &Message) {
    if let Err(error) = store::notify(&app.db, &app.namespace.channel, &message.text()).await {
        tracing::warn!(%error, "The other processes could not be told; they will look by themselves.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        for message in [Message::Turn(RunId::mint()), Message::Cancel(RunId::mint()), Message::Work] {
            assert_eq!(Message::parse(&message.text()), Some(message));
        }
        assert_eq!(Message::parse("turn on"), None);
        assert_eq!(Message::parse(""), None);
    }
}
