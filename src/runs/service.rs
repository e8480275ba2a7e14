//! The rules of runs.
//!
//! ```text
//! start ──► task: accept (one statement) ► history ► engine ► settle (one transaction) ► RunCompleted
//!              └──► RunHandle: events and outcome, for the response that waits ◄────────────┘
//! ```
//!
//! The task belongs to the process, not to the request: it goes on when the client has gone away, and a shutdown waits
//! for it. `work` has what comes after accepting.

use std::sync::Arc;

use anyhow::anyhow;
use axum::http::StatusCode;
use chrono::Utc;
use serde_json::{Map, Value};
use sqlx::PgPool;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    events::EventLog,
    model::{Message, Run, RunError, RunErrorKind, RunId},
    request::CreateRun,
    store::{self, Claim, NewRun, RunFilter},
    wire::RunOutput,
    work::Work,
};
use crate::{
    agents::Agent,
    app::App,
    auth::{Caller, Scope},
    http::Problem,
    sessions::{self, SessionId, SessionType},
    text,
};

const NAME_CHARS: usize = 100;

/// An accepted run: its events as they happen, and its end.
#[derive(Debug)]
pub struct RunHandle {
    pub claim: Claim,
    pub events: EventLog,
    pub outcome: oneshot::Receiver<Result<RunOutput, Problem>>,
}

/// Accepts the run and starts it. From here on it is stored, and ends by itself: also when this future is dropped,
/// because a client that goes away must not leave a run that was accepted and never executed.
pub async fn start(
    app: &Arc<App>,
    caller: Caller,
    agent: Arc<Agent>,
    run: CreateRun,
    stream: bool,
) -> Result<RunHandle, Problem> {
    let (tell_accepted, accepted) = oneshot::channel();
    let task_app = app.clone();
    app.tasks.spawn(async move {
        let app = task_app;
        match accept(&app, &caller, &agent, &run).await {
            Err(problem) => drop(tell_accepted.send(Err(problem))),
            Ok((new, claim, state)) => {
                let events = EventLog::default();
                let (tell_outcome, outcome) = oneshot::channel();
                // Nobody may be listening any more, now or at the end.
                drop(tell_accepted.send(Ok(RunHandle { claim: claim.clone(), events: events.clone(), outcome })));
                let work = Work { app, agent, run, accepted: new, claim, events, stream };
                drop(tell_outcome.send(work.carry_out(state).await));
            }
        }
    });
    accepted.await.map_err(|_| anyhow!("accepting a run panicked"))?
}

async fn accept(
    app: &App,
    caller: &Caller,
    agent: &Agent,
    run: &CreateRun,
) -> Result<(NewRun, Claim, Map<String, Value>), Problem> {
    let new = NewRun {
        run_id: RunId::mint(),
        session_id: run.session_id.clone().unwrap_or_else(SessionId::mint),
        session_type: SessionType::Agent,
        component_id: agent.settings.id.clone(),
        user_id: caller.user().cloned(),
        session_name: Some(run.message.trim())
            .filter(|name| !name.is_empty())
            .map(|name| text::truncate(name, NAME_CHARS)),
        initial_state: agent.settings.session_state.clone(),
        input: run.message.clone(),
        metadata: run.metadata.clone().unwrap_or_default(),
        message_id: Uuid::now_v7(),
        text_config: app.settings.search.text_config.clone(),
        at: Utc::now(),
    };
    match store::accept(&app.db, &new).await? {
        Some((claim, state)) => Ok((new, claim, state)),
        None => Err(refusal(app, caller, &new).await?),
    }
}

/// Why the session does not take the run: it is of another type, or there is none that this caller may write to.
async fn refusal(app: &App, caller: &Caller, run: &NewRun) -> Result<Problem, sqlx::Error> {
    let found = sessions::store::find(&app.db, &caller.scope(), &run.session_id).await?;
    Ok(match found {
        Some(session) if caller.may_continue(session.user_id.as_ref()) => Problem::conflict(format!(
            "Session '{}' is a {} session; use another session_id for an agent",
            run.session_id, session.session_type
        )),
        _ => Problem::not_found("Session not found"),
    })
}

/// Ends the runs that a process left behind when it was killed. Only for a database that nobody else serves on.
pub async fn end_interrupted(db: &PgPool) -> Result<(), sqlx::Error> {
    let error = RunError {
        kind: RunErrorKind::Interrupted,
        message: "The server was stopped during the run. Send the message again.".into(),
    };
    let ended = store::end_unfinished(db, &error, Utc::now()).await?;
    if ended > 0 {
        tracing::warn!(runs = ended, "Ended the runs that were interrupted when the server was last stopped.");
    }
    Ok(())
}

/// Removes the events of streams that nobody may pick up any more, in small batches.
pub async fn clean_up(app: &App) -> anyhow::Result<()> {
    const BATCH: i64 = 1_000;
    let before = Utc::now() - app.settings.runs.keep_events;
    let mut removed = 0;
    loop {
        let batch = store::delete_events(&app.db, before, BATCH).await?;
        removed += batch;
        if batch < BATCH.unsigned_abs() {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(batches = removed, "Removed events of streams that have expired.");
    }
    Ok(())
}

/// A run with its own messages.
pub async fn get(app: &App, scope: &Scope, run_id: RunId) -> Result<Option<(Run, Vec<Message>)>, Problem> {
    let Some(run) = store::find(&app.db, scope, run_id).await? else { return Ok(None) };
    let mut messages = store::messages_of(&app.db, scope, &run.session_id, &[run.seq]).await?;
    let messages = messages.remove(&run.seq).unwrap_or_default();
    Ok(Some((run, messages)))
}

/// The runs of a session, oldest first, each with its own messages.
pub async fn list(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    filter: &RunFilter,
) -> Result<Vec<(Run, Vec<Message>)>, Problem> {
    let runs = store::list(&app.db, scope, session_id, filter).await?;
    let seqs: Vec<i64> = runs.iter().map(|run| run.seq).collect();
    let mut messages = store::messages_of(&app.db, scope, session_id, &seqs).await?;
    Ok(runs
        .into_iter()
        .map(|run| {
            let messages = messages.remove(&run.seq).unwrap_or_default();
            (run, messages)
        })
        .collect())
}

/// What a caller is told of a run that ended with an error: as AgentOS does in forms, as a problem in JSON.
pub fn answer(output: RunOutput, is_form: bool) -> Result<RunOutput, Problem> {
    let Some(error) = output.error.as_ref().filter(|_| !is_form) else { return Ok(output) };
    let status = match error.kind {
        RunErrorKind::ModelProviderError | RunErrorKind::ToolLoop => StatusCode::BAD_GATEWAY,
        RunErrorKind::ModelTimeout => StatusCode::GATEWAY_TIMEOUT,
        RunErrorKind::Interrupted | RunErrorKind::NotSaved => StatusCode::SERVICE_UNAVAILABLE,
    };
    Err(Problem::new(status, error.message.clone()).of_type(error.kind.as_str()).about_run(output.run_id.0))
}
