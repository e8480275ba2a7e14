//! Ending a run early, wherever it is executed.

use serde::Deserialize;
use std::sync::Arc;

use super::{
    end::{End, settle_once},
    model::{Run, RunError, RunId, RunStatus},
    service::Queued,
    store::{self, Claim},
    turns::{self, Message},
};
use crate::{app::App, auth::Scope, clock, http::Problem, llm::ModelInfo};

/// Cancels a run that was found under `scope`. It takes effect within a second; what was said so far is kept. A run that
/// was cancelled before is as it should be; one that has ended otherwise cannot be.
pub async fn cancel(app: &Arc<App>, scope: &Scope, run: &Run) -> Result<(), Problem> {
    if end(app, scope, run.run_id).await? {
        return Ok(());
    }
    match store::find(&app.db, scope, run.run_id).await?.map(|run| run.status) {
        Some(RunStatus::Cancelled) => Ok(()),
        Some(status) => Err(Problem::conflict(format!("The run has ended already, with status {}", status.as_str()))),
        None => Err(Problem::not_found("Run not found")),
    }
}

/// Makes way on a session for a run that was accepted after the active one.
pub(super) async fn interrupt(app: &Arc<App>, scope: &Scope, session_id: &crate::sessions::SessionId) {
    let active = store::active_run(&app.db, scope, session_id).await;
    let ended = match active {
        Ok(Some(run_id)) => end(app, &Scope::All, run_id).await.map(drop),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::warn!(session.id = %session_id, %error, "A run could not be interrupted; the next one waits for it.");
    }
}

/// `false`: the run has ended already, or is not there.
async fn end(app: &Arc<App>, scope: &Scope, run_id: RunId) -> Result<bool, sqlx::Error> {
    let Some(wanted) = store::request_cancel(&app.db, scope, run_id, clock::now()).await? else { return Ok(false) };
    let message = Message::Cancel(run_id);
    if app.runs.get(run_id).is_some() {
        message.heed(app);
    } else if wanted.process.is_some() {
        turns::tell(app, &message).await;
    } else {
        // Nobody has begun it and nobody waits for it.
        let claim = Claim { session_id: wanted.session_id, seq: wanted.seq, run_id, process: None };
        let mut end = End::failed(RunError::cancelled("The run was cancelled before it began."), ModelInfo::default());
        let queued = wanted.request.and_then(|request| Queued::deserialize(request).ok());
        end.jobs.extend(queued.and_then(|queued| queued.run.webhook(run_id)));
        if settle_once(app, &claim, &end).await?.is_none() {
            // It has begun meanwhile.
            turns::tell(app, &message).await;
        }
    }
    Ok(true)
}
