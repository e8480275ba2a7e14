//! Runs for those who ask about them, and what they are told.

use std::{collections::HashMap, time::Duration};

use axum::http::StatusCode;

use super::{
    model::{Message, Run, RunErrorKind, RunId},
    store::{self, RunFilter},
    wire::{MessageView, RunOutput},
};
use crate::{agents::Agent, app::App, auth::Scope, http::Problem, sessions::SessionId};

/// How often a run that somebody waits for is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A run of an agent, if it is there, the caller's, and of the session that was named.
pub async fn find(
    app: &App,
    scope: &Scope,
    agent_id: &str,
    run_id: RunId,
    session_id: Option<&SessionId>,
) -> Result<Run, Problem> {
    store::find(&app.db, scope, run_id)
        .await?
        .filter(|run| run.component_id == agent_id)
        .filter(|run| session_id.is_none_or(|wanted| *wanted == run.session_id))
        .ok_or_else(|| Problem::not_found("Run not found"))
}

/// A run with its own messages, whatever its agent.
pub async fn get(app: &App, scope: &Scope, run_id: RunId) -> Result<Option<(Run, Vec<Message>)>, Problem> {
    let Some(run) = store::find(&app.db, scope, run_id).await? else { return Ok(None) };
    let messages = messages(app, scope, &run).await?;
    Ok(Some((run, messages)))
}

/// The messages of a run.
pub async fn messages(app: &App, scope: &Scope, run: &Run) -> Result<Vec<Message>, Problem> {
    let mut messages = store::messages_of(&app.db, scope, &run.session_id, &[run.seq]).await?;
    Ok(messages.remove(&run.seq).unwrap_or_default())
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
    let mut messages: HashMap<i64, _> = store::messages_of(&app.db, scope, session_id, &seqs).await?;
    Ok(runs
        .into_iter()
        .map(|run| {
            let messages = messages.remove(&run.seq).unwrap_or_default();
            (run, messages)
        })
        .collect())
}

/// The run that an `Idempotency-Key` names.
pub async fn find_repeated(app: &App, session_id: &SessionId, seq: i64) -> Result<Run, Problem> {
    // Who has the key and the request is shown what came of it.
    store::find_by_seq(&app.db, &Scope::All, session_id, seq).await?.ok_or_else(|| {
        Problem::conflict("The run of this Idempotency-Key was deleted meanwhile; send the request with a new key")
    })
}

/// Waits until a run has ended, wherever it is executed.
pub async fn wait_for_end(app: &App, agent: &Agent, session_id: &SessionId, seq: i64) -> Result<RunOutput, Problem> {
    loop {
        let run = find_repeated(app, session_id, seq).await?;
        if run.status.is_final() {
            let messages = messages(app, &Scope::All, &run).await?;
            return Ok(RunOutput::new(run, agent, MessageView::all(messages)));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What a caller is told of a run that ended with an error: as AgentOS does in forms, as a problem in JSON. A run that
/// was cancelled is told as it is.
pub fn answer(output: RunOutput, is_form: bool) -> Result<RunOutput, Problem> {
    let Some(error) = output.error.as_ref().filter(|_| !is_form) else { return Ok(output) };
    let status = match error.kind {
        RunErrorKind::Cancelled => return Ok(output),
        RunErrorKind::ModelProviderError
        | RunErrorKind::ToolLoop
        | RunErrorKind::AnswerTooLong
        | RunErrorKind::Unknown => StatusCode::BAD_GATEWAY,
        RunErrorKind::StateTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        RunErrorKind::ModelTimeout | RunErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        RunErrorKind::Interrupted | RunErrorKind::NotSaved | RunErrorKind::QueueTimeout => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let problem = match status {
        StatusCode::SERVICE_UNAVAILABLE => Problem::unavailable(error.message.clone()),
        status => Problem::new(status, error.message.clone()),
    };
    Err(problem.of_type(error.kind.as_str()).about_run(output.run_id.0))
}

/// Removes the events of streams that nobody may pick up any more, in small batches.
pub async fn clean_up(app: &App) -> anyhow::Result<()> {
    const BATCH: i64 = 1_000;
    let mut removed = 0;
    loop {
        let batch = store::delete_events(&app.db, app.settings.runs.keep_events, BATCH).await?;
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
