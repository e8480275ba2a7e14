//! Imports an export: all of it or nothing. If an identical session exists already, nothing is stored.

use std::{pin::pin, sync::Arc};

use futures::TryStreamExt;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{check_name, export};
use crate::{
    app::App,
    database,
    idempotency::Claimed,
    model::{Caller, Error, OnConstraint, SessionId, state},
    search::vectors,
    sessions::{
        import::{Lines, Transcript},
        store,
    },
    summaries,
};

/// Bytes stored at a time.
const BATCH_BYTES: usize = 256 * 1024;

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    pub session_id: SessionId,
    pub runs: usize,
    pub messages: usize,
    /// `false` if an identical session existed already.
    pub is_new: bool,
}

pub async fn import(
    app: &Arc<App>,
    caller: &Caller,
    mut transcript: Transcript,
    claimed: &Claimed,
) -> Result<Imported, Error> {
    let session = &transcript.session;
    if caller.user().is_some() && caller.user() != session.user_id.as_ref() {
        return Err(Error::invalid("user_id", "is not the user of the session in line 1; leave it out, or change it"));
    }
    check_name("line 1/session_name", session.session_name.as_deref().unwrap_or_default())?;
    let max = app.settings.sessions.max_state_bytes;
    state::check_size(max, "line 1/session_state", &session.session_state)?;
    state::check_size(max, "line 1/metadata", &session.metadata)?;
    let session_id = session.session_id.clone();
    let (runs, messages) = (transcript.runs, transcript.messages);
    if store::find(&app.db, &caller.scope(), &session_id).await?.is_some() {
        if !is_same(app, caller, &session_id, &mut transcript.lines).await? {
            let detail =
                format!("Session '{session_id}' is there already, and differs; delete it first, or change the id");
            return Err(Error::conflict(detail));
        }
        return Ok(Imported { session_id, runs, messages, is_new: false });
    }
    insert(app, &session_id, &mut transcript.lines, claimed).await?;
    Ok(Imported { session_id, runs, messages, is_new: true })
}

/// Whether the stored session, if exported, has the same lines.
async fn is_same(app: &Arc<App>, caller: &Caller, session_id: &SessionId, lines: &mut Lines) -> Result<bool, Error> {
    let mut present = pin!(export(app, caller.scope(), session_id.clone(), None).await?);
    while let Some((line, _)) = lines.read()? {
        match present.try_next().await? {
            Some(present) if serde_json::from_str::<Value>(&present).is_ok_and(|present| present == line) => {}
            _ => return Ok(false),
        }
    }
    Ok(present.try_next().await?.is_none())
}

async fn insert(app: &App, session_id: &SessionId, lines: &mut Lines, claimed: &Claimed) -> Result<(), Error> {
    let mut tx = database::begin(&app.db).await?;
    let mut batch = Batch::default();
    while let Some((line, bytes)) = lines.read()? {
        let kind = line["kind"].as_str().unwrap_or_default();
        match kind {
            "session" => {
                let taken = "This session id is in use; change session_id in line 1";
                let stored = store::import_session(&mut tx, &line).await;
                stored.on_constraint("sessions_pkey", || Error::conflict(taken))?;
            }
            "usage" => batch.usage.push(line),
            "run" => batch.runs.push(line),
            "message" => batch.messages.push(line),
            "summary" => batch.summaries.push(line),
            _ => {}
        }
        batch.bytes += bytes;
        if batch.bytes > BATCH_BYTES {
            std::mem::take(&mut batch).store(app, &mut tx, session_id).await?;
        }
    }
    batch.store(app, &mut tx, session_id).await?;
    store::count_imported(&mut tx, session_id).await?;
    summaries::recount(&mut tx, session_id).await?;
    vectors::note(app, &mut tx, session_id).await?;
    claimed.spend(&mut tx, session_id).await?;
    tx.commit().await?;
    vectors::wake(app).await;
    Ok(())
}

/// Lines that are stored together.
#[derive(Default)]
struct Batch {
    usage: Vec<Value>,
    runs: Vec<Value>,
    messages: Vec<Value>,
    summaries: Vec<Value>,
    bytes: usize,
}

impl Batch {
    async fn store(self, app: &App, tx: &mut PgConnection, session_id: &SessionId) -> Result<(), Error> {
        let run_ids: Vec<Uuid> = self.runs.iter().filter_map(|run| run["run_id"].as_str()?.parse().ok()).collect();
        if store::runs_elsewhere(tx, &run_ids).await? {
            let detail =
                "A run of this export is in another session already; fork that session instead of importing a copy";
            return Err(Error::conflict(detail));
        }
        store::import_usage(tx, session_id, &self.usage).await?;
        store::import_runs(tx, session_id, &self.runs).await?;
        store::import_messages(tx, session_id, &self.messages, &app.settings.search.text_config).await?;
        store::import_summaries(tx, session_id, &self.summaries).await?;
        Ok(())
    }
}
