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
    model::{Caller, Error, ModelInfo, ModelUsage, OnConstraint, SessionId, TenantId, Usage, state},
    search::vectors,
    sessions::{
        import::{Lines, RunParts, Transcript},
        store,
    },
    summaries,
    usage::{Purpose, entries},
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
    insert(app, caller.tenant(), &session_id, &mut transcript.lines, claimed).await?;
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

async fn insert(
    app: &App,
    tenant: &TenantId,
    session_id: &SessionId,
    lines: &mut Lines,
    claimed: &Claimed,
) -> Result<(), Error> {
    let mut tx = database::begin(&app.db).await?;
    let mut batch = Batch::default();
    let mut run = None;
    while let Some((line, bytes)) = lines.read()? {
        let kind = line["kind"].as_str().unwrap_or_default();
        if kind != "message" {
            batch.take_run(run.take());
        }
        match kind {
            "session" => {
                let taken = "This session id is in use; change session_id in line 1";
                let stored = store::import_session(&mut tx, tenant, &line).await;
                stored.on_constraint("sessions_pkey", || Error::conflict(taken))?;
            }
            "usage" => batch.take_usage(&line),
            "run" => run = Some(RunParts::new(line)),
            "message" => batch.steps.extend(run.as_mut().and_then(|run| run.take(line))),
            "summary" => batch.summaries.push(line),
            _ => {}
        }
        batch.bytes += bytes;
        if batch.bytes > BATCH_BYTES {
            // The steps in this batch need their run.
            let open = run.as_mut().filter(|run| run.has_messages());
            batch.runs.extend(open.and_then(RunParts::opening));
            std::mem::take(&mut batch).store(app, &mut tx, tenant, session_id).await?;
        }
    }
    batch.store(app, &mut tx, tenant, session_id).await?;
    store::count_imported(&mut tx, tenant, session_id).await?;
    summaries::recount(&mut tx, tenant, session_id).await?;
    vectors::note(app, &mut tx, tenant, session_id).await?;
    claimed.spend(&mut tx, session_id).await?;
    tx.commit().await?;
    vectors::wake(app).await;
    Ok(())
}

/// Lines that are stored together.
#[derive(Default)]
struct Batch {
    usage: (Vec<String>, Vec<i64>),
    runs: Vec<Value>,
    steps: Vec<Value>,
    outcomes: Vec<Value>,
    summaries: Vec<Value>,
    bytes: usize,
}

impl Batch {
    fn take_usage(&mut self, line: &Value) {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let model = ModelInfo { id: text("model"), provider: text("model_provider") };
        let number = |field: &str| line[field].as_i64().unwrap_or_default();
        let usage = Usage {
            input_tokens: number("input_tokens"),
            output_tokens: number("output_tokens"),
            total_tokens: number("total_tokens"),
            reasoning_tokens: number("reasoning_tokens"),
            cache_read_tokens: number("cache_read_tokens"),
            cache_write_tokens: number("cache_write_tokens"),
        };
        let purpose = match line["purpose"].as_str() {
            Some("summary") => Purpose::Summary,
            Some("memory") => Purpose::Memory,
            Some("title") => Purpose::Title,
            _ => Purpose::Run,
        };
        let (names, numbers) = entries(purpose, &[ModelUsage { model, usage }]);
        self.usage.0.extend(names);
        self.usage.1.extend(numbers);
    }

    /// Takes a run whose messages have all been read.
    fn take_run(&mut self, run: Option<RunParts>) {
        let Some(mut run) = run else { return };
        self.runs.extend(run.opening());
        let (step, outcome) = run.end();
        self.steps.extend(step);
        self.outcomes.push(outcome);
    }

    async fn store(
        self,
        app: &App,
        tx: &mut PgConnection,
        tenant: &TenantId,
        session_id: &SessionId,
    ) -> Result<(), Error> {
        let run_ids: Vec<Uuid> = self.runs.iter().filter_map(|run| run["run_id"].as_str()?.parse().ok()).collect();
        if store::runs_elsewhere(tx, tenant, &run_ids).await? {
            let detail =
                "A run of this export is in another session already; fork that session instead of importing a copy";
            return Err(Error::conflict(detail));
        }
        let text_config = &app.settings.search.text_config;
        if !self.usage.0.is_empty() {
            store::add_usage(tx, tenant, session_id, (&self.usage.0, &self.usage.1)).await?;
        }
        store::import_runs(tx, tenant, session_id, &self.runs, text_config).await?;
        store::import_steps(tx, tenant, session_id, &self.steps, text_config).await?;
        store::import_outcomes(tx, tenant, session_id, &self.outcomes, text_config).await?;
        store::import_summaries(tx, tenant, session_id, &self.summaries).await?;
        Ok(())
    }
}
