//! Ending a run early, wherever it is executed.

use std::sync::Arc;

use super::{
    end::{End, settle_once},
    model::{Run, RunError, RunId, RunStatus},
    request, store,
    turns::{self, Message},
    webhook::WebhookUrl,
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

/// Makes way on a session for a run that was accepted after the active one. In a session of nobody the active run may be
/// another user's: it is not theirs to end, and the new one waits for it.
pub(super) async fn interrupt(app: &Arc<App>, scope: &Scope, session_id: &crate::sessions::SessionId) {
    let active = store::active_run(&app.db, scope, session_id).await;
    let ended = match active {
        Ok(Some(run_id)) => match may_interrupt(app, scope, run_id).await {
            Ok(true) => end(app, &Scope::All, run_id).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        },
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::warn!(session.id = %session_id, %error, "A run could not be interrupted; the next one waits for it.");
    }
}

/// Whether the run is the caller's or nobody's. Who names no user acts for all of them, as everywhere.
async fn may_interrupt(app: &App, scope: &Scope, run_id: RunId) -> Result<bool, sqlx::Error> {
    let run = store::find(&app.db, &Scope::All, run_id).await?;
    Ok(run.is_some_and(|run| match scope {
        Scope::All => true,
        Scope::User(user) => run.user_id.is_none_or(|owner| owner == *user),
    }))
}

/// `false`: the run has ended already, or is not there.
async fn end(app: &Arc<App>, scope: &Scope, run_id: RunId) -> Result<bool, sqlx::Error> {
    let Some(wanted) = store::request_cancel(&app.db, scope, run_id, clock::now()).await? else { return Ok(false) };
    let message = Message::Cancel(run_id);
    message.heed(app);
    if wanted.is_held {
        if app.runs.get(run_id).is_none() {
            turns::tell(app, &message).await;
        }
        return Ok(true);
    }
    // Nobody has begun it, or who has does not live.
    let reason = match wanted.claim.process {
        None => "The run was cancelled before it began.",
        Some(_) => "The run was cancelled.",
    };
    let mut end = End::failed(RunError::cancelled(reason), ModelInfo::default());
    end.jobs.extend(wanted.webhook_url.map(|url| request::tell_end(run_id, WebhookUrl::stored(url))));
    if settle_once(app, &wanted.claim, &end).await?.is_none() {
        // It has begun meanwhile.
        turns::tell(app, &message).await;
    }
    Ok(true)
}
