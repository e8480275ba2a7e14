//! Forks: copies of a conversation, to continue it in another direction.

use super::{check_name, find};
use crate::{
    app::App,
    clock, database,
    idempotency::Claimed,
    model::{Error, OnConstraint, RunId, Scope, SessionId, SessionType},
    search::vectors,
    sessions::store::{self, CopyOrigin},
};

/// The options of a fork.
#[derive(Debug, Default)]
pub struct Fork {
    /// Generated if absent.
    pub session_id: Option<SessionId>,
    /// The last run to copy; if absent, all that have ended.
    pub up_to_run_id: Option<RunId>,
    /// If absent, the source's name.
    pub session_name: Option<String>,
}

/// Copies a session with its runs and messages, which get new ids. Returns the copy's id.
pub async fn fork(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    fork: Fork,
    claimed: &Claimed,
) -> Result<SessionId, Error> {
    let session_name = fork.session_name.filter(|name| !name.trim().is_empty());
    if let Some(name) = &session_name {
        check_name("/session_name", name)?;
    }
    find(app, scope, session_id, session_type).await?;
    let up_to_seq = match fork.up_to_run_id {
        Some(run_id) => Some(ended_run(app, scope, session_id, run_id).await?),
        None => None,
    };
    let copy_id = fork.session_id.unwrap_or_else(SessionId::mint);
    let origin = CopyOrigin { session_id, up_to_seq, session_name: session_name.as_deref(), at: clock::now() };
    let taken = "This session id is in use; choose another, or leave it out";
    let mut tx = database::begin(&app.db).await?;
    let is_copied = store::fork(&mut tx, scope, &origin, &copy_id).await;
    if is_copied.on_constraint("sessions_pkey", || Error::conflict(taken))? {
        vectors::note(app, &mut tx, scope.tenant_id(), &copy_id).await?;
        claimed.spend(&mut tx, &copy_id).await?;
        tx.commit().await?;
        vectors::wake(app).await;
        return Ok(copy_id);
    }
    Err(Error::unreadable("Source session has no runs to fork: none has ended yet"))
}

async fn ended_run(app: &App, scope: &Scope, session_id: &SessionId, run_id: RunId) -> Result<i64, Error> {
    let mut connection = app.db.acquire().await?;
    let run = store::find_run(&mut connection, scope, session_id, run_id).await?;
    let detail = "is no run of this session; give one of those that GET …/runs lists";
    let run = run.ok_or_else(|| Error::invalid("/up_to_run_id", detail))?;
    if !run.status.is_final() {
        return Err(Error::conflict("The run has not ended; cancel it, or wait for its end, and try again"));
    }
    Ok(run.seq)
}
