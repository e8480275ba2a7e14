//! Notifications between processes. They only save time: everything is found by polling too.

use uuid::Uuid;

use super::{Registry, store};
use crate::{
    app::App,
    model::{RunError, RunId},
};

/// Notifies a run of this process that it may be its turn.
pub(super) fn wake(app: &App, run_id: RunId) {
    if let Some(run) = Registry::of(app).get(run_id) {
        run.turn.notify_one();
    }
}

/// A notification between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It may be this run's turn.
    Turn(RunId),
    /// This run was cancelled.
    Cancel(RunId),
    /// A background run may be ready to be taken.
    Work,
}

impl Signal {
    pub fn parse(text: &str) -> Option<Self> {
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

    /// Acts on the message in this process.
    pub fn heed(self, app: &App) {
        match self {
            Self::Turn(run_id) => wake(app, run_id),
            Self::Cancel(run_id) => {
                if let Some(run) = Registry::of(app).get(run_id) {
                    run.stop.stop(RunError::cancelled("The run was cancelled."));
                }
            }
            Self::Work => Registry::of(app).work.notify_one(),
        }
    }
}

/// Notifies all processes, including this one.
pub async fn tell(app: &App, message: Signal) {
    if let Err(error) = store::notify(&app.db, &app.namespace.channel, &message.text()).await {
        tracing::warn!(%error, "The other processes could not be told; they will look by themselves.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        for message in [Signal::Turn(RunId::mint()), Signal::Cancel(RunId::mint()), Signal::Work] {
            assert_eq!(Signal::parse(&message.text()), Some(message));
        }
        assert_eq!(Signal::parse("turn on"), None);
        assert_eq!(Signal::parse(""), None);
    }
}
