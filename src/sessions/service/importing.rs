//! Reading an export in again. All of it is stored, or nothing; what is there already, and the same, is left alone.

use std::{pin::pin, sync::Arc};

use futures::TryStreamExt;
use serde_json::Value;

use super::{check_name, check_state, export};
use crate::{
    app::App,
    auth::Caller,
    http::{Problem, idempotency::Claimed, problem::OnConstraint},
    search::vectors,
    sessions::{SessionId, import::Transcript, store, summary},
};

/// What an import came to.
#[derive(Debug)]
pub struct Imported {
    pub session_id: SessionId,
    pub runs: usize,
    pub messages: usize,
    /// `false`: it was there already.
    pub is_new: bool,
}

pub async fn import(
    app: &Arc<App>,
    caller: &Caller,
    transcript: Transcript,
    claimed: &Claimed,
) -> Result<Imported, Problem> {
    let session = &transcript.session;
    if caller.user().is_some() && caller.user() != session.user_id.as_ref() {
        return Err(Problem::invalid(
            "user_id",
            "is not the user of the session in line 1; leave it out, or change it",
        ));
    }
    check_name("line 1/session_name", session.session_name.as_deref().unwrap_or_default())?;
    check_state(&app.settings, "line 1/session_state", &session.session_state)?;
    check_state(&app.settings, "line 1/metadata", &session.metadata)?;
    let session_id = session.session_id.clone();
    let (runs, messages) = (transcript.runs.len(), transcript.messages.len());
    if store::find(&app.db, &caller.scope(), &session_id).await?.is_some() {
        if !is_same(app, caller, &session_id, &transcript).await? {
            let detail =
                format!("Session '{session_id}' is there already, and differs; delete it first, or change the id");
            return Err(Problem::conflict(detail));
        }
        return Ok(Imported { session_id, runs, messages, is_new: false });
    }
    insert(app, &session_id, &transcript, claimed).await?;
    Ok(Imported { session_id, runs, messages, is_new: true })
}

/// Whether an export of what is there would have the same lines.
async fn is_same(
    app: &Arc<App>,
    caller: &Caller,
    session_id: &SessionId,
    transcript: &Transcript,
) -> Result<bool, Problem> {
    let mut present = pin!(export(app, caller.scope(), session_id.clone(), None).await?);
    for line in &transcript.lines {
        match present.try_next().await? {
            Some(present) if serde_json::from_str::<Value>(&present).is_ok_and(|present| present == *line) => {}
            _ => return Ok(false),
        }
    }
    Ok(present.try_next().await?.is_none())
}

async fn insert(app: &App, session_id: &SessionId, transcript: &Transcript, claimed: &Claimed) -> Result<(), Problem> {
    const BATCH: usize = 200;
    let lines =
        |places: &[usize]| -> Vec<Value> { places.iter().map(|place| transcript.lines[*place].clone()).collect() };
    let mut tx = app.db.begin().await?;
    let taken = "This session id is in use; change session_id in line 1";
    store::import_session(&mut tx, &transcript.lines[0])
        .await
        .on_constraint("sessions_pkey", || Problem::conflict(taken))?;
    if store::runs_elsewhere(&mut tx, &transcript.run_ids).await? {
        let detail =
            "A run of this export is in another session already; fork that session instead of importing a copy";
        return Err(Problem::conflict(detail));
    }
    store::import_usage(&mut tx, session_id, &lines(&transcript.usage)).await?;
    for batch in transcript.runs.chunks(BATCH) {
        store::import_runs(&mut tx, session_id, &lines(batch)).await?;
    }
    for batch in transcript.messages.chunks(BATCH) {
        store::import_messages(&mut tx, session_id, &lines(batch), &app.settings.search.text_config).await?;
    }
    store::import_summaries(&mut tx, session_id, &lines(&transcript.summaries)).await?;
    store::count_imported(&mut tx, session_id).await?;
    summary::recount(&mut tx, session_id).await?;
    vectors::note(app, &mut tx, session_id).await?;
    claimed.spend(&mut tx, session_id).await?;
    tx.commit().await?;
    vectors::wake(app).await;
    Ok(())
}
