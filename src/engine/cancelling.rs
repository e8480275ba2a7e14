//! Ends a run early, in whichever process it is executed.

use std::sync::Arc;

use super::settlement::{End, settle_once};
use crate::{
    app::App,
    clock,
    model::{Error, ModelInfo, Run, RunError, RunId, RunStatus, Scope, SessionId, WebhookUrl},
    processes::{
        Registry,
        bus::{self, Signal},
        store,
    },
    runs,
};

/// Cancels a run that was found under `scope`. It takes effect within a second; the partial answer is kept. Idempotent:
/// a run that was cancelled before is no error. A run that has ended with another status is a conflict.
pub async fn cancel(app: &Arc<App>, scope: &Scope, run: &Run) -> Result<(), Error> {
    if end(app, scope, run.run_id).await? {
        return Ok(());
    }
    match runs::store::find(&app.db, scope, run.run_id).await?.map(|run| run.status) {
        Some(RunStatus::Cancelled) => Ok(()),
        Some(status) => Err(Error::conflict(format!("The run has ended already, with status {}", status.as_str()))),
        None => Err(Error::not_found("Run not found")),
    }
}

/// Cancels the active run of a session, to make way for a run that was accepted after it. In a session without a user
/// the active run may be another user's: the caller must not cancel it, and the new run waits for it.
pub(crate) async fn interrupt(app: &Arc<App>, scope: &Scope, session_id: &SessionId) {
    let active = store::active_run(&app.db, scope, session_id).await;
    let ended = match active {
        Ok(Some(run_id)) => match may_interrupt(app, scope, run_id).await {
            Ok(true) => end(app, &system(scope, "the caller may interrupt this run"), run_id).await.map(drop),
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

/// Whether the run belongs to the caller or to no user. A caller that names no user acts for all users, as everywhere.
async fn may_interrupt(app: &App, scope: &Scope, run_id: RunId) -> Result<bool, sqlx::Error> {
    let run = runs::store::find(&app.db, &system(scope, "whose run it is decides who may end it"), run_id).await?;
    Ok(run.is_some_and(|run| match scope {
        Scope::Tenant(_) | Scope::System(..) => true,
        Scope::User(_, user) => run.user_id.is_none_or(|owner| owner == *user),
    }))
}

/// The server's own scope in the tenant of a caller's.
fn system(scope: &Scope, reason: &'static str) -> Scope {
    Scope::System(scope.tenant_id().clone(), reason)
}

/// `false` if the run has already ended or does not exist.
async fn end(app: &Arc<App>, scope: &Scope, run_id: RunId) -> Result<bool, sqlx::Error> {
    let Some(wanted) = store::request_cancel(&app.db, scope, run_id, clock::now()).await? else { return Ok(false) };
    let message = Signal::Cancel(run_id);
    message.heed(app);
    if wanted.is_held {
        if Registry::of(app).get(run_id).is_none() {
            bus::tell(app, message).await;
        }
        return Ok(true);
    }
    // The run has not begun, or its process is dead.
    let reason = match wanted.claim.process {
        None => "The run was cancelled before it began.",
        Some(_) => "The run was cancelled.",
    };
    let mut end = End::failed(RunError::cancelled(reason), ModelInfo::default());
    end.webhook_url = wanted.webhook_url.map(WebhookUrl::stored);
    if settle_once(app, &wanted.claim, &end).await?.is_none() {
        // The run has begun meanwhile.
        bus::tell(app, message).await;
    }
    Ok(true)
}
