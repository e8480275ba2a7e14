//! Accept, execute, settle: the rules of a run.
//!
//! ```text
//! start ── accept (one statement) ──► task: history ► engine ► settle (one transaction) ► RunCompleted
//!   └────► RunHandle: events and outcome, for the response that waits ◄──────────────────────┘
//! ```
//!
//! The task belongs to the process, not to the request: it goes on when the client has gone away, and a shutdown waits
//! for it.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use backon::{ExponentialBuilder, Retryable};
use chrono::Utc;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    context::{Context, ContextOptions, History},
    engine::{Engine, Execution},
    events::{Completion, EventKind, EventLog},
    model::{ContextRecord, Message, Role, Run, RunError, RunErrorKind, RunId, RunMetrics, RunStatus},
    request::CreateRun,
    store::{self, Claim, NewRun, RunFilter, Settlement},
    wire::{MessageView, RunOutput, ToolExecution},
};
use crate::{
    agents::Agent,
    app::App,
    auth::{Caller, Scope},
    database,
    http::Problem,
    llm::ModelInfo,
    sessions::{self, SessionId, SessionType},
    text,
    tools::{self, Toolbox},
};

const NAME_CHARS: usize = 100;
/// How long a caller waits for a database that went away during the run.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the failure is then tried to be written down, behind the caller's back.
const WRITE_DOWN_PATIENCE: Duration = Duration::from_hours(1);

/// An accepted run: its events as they happen, and its end.
#[derive(Debug)]
pub struct RunHandle {
    pub claim: Claim,
    pub events: EventLog,
    pub outcome: oneshot::Receiver<Result<RunOutput, Problem>>,
}

/// Accepts the run and starts it. From here on it is stored, and ends by itself.
pub async fn start(
    app: &Arc<App>,
    caller: &Caller,
    agent: Arc<Agent>,
    run: CreateRun,
    stream: bool,
) -> Result<RunHandle, Problem> {
    let (accepted, claim, state) = accept(app, caller, &agent, &run).await?;
    let events = EventLog::default();
    let (tell, outcome) = oneshot::channel();
    let work = Work { app: app.clone(), agent, run, accepted, claim: claim.clone(), events: events.clone(), stream };
    app.tasks.spawn(async move {
        let outcome = work.execute_and_settle(state).await;
        // Nobody may be waiting any more.
        let _ = tell.send(outcome);
    });
    Ok(RunHandle { claim, events, outcome })
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

/// One accepted run on its way.
struct Work {
    app: Arc<App>,
    agent: Arc<Agent>,
    run: CreateRun,
    accepted: NewRun,
    claim: Claim,
    events: EventLog,
    stream: bool,
}

impl Work {
    async fn execute_and_settle(self, stored_state: Map<String, Value>) -> Result<RunOutput, Problem> {
        self.events.push(EventKind::RunStarted(self.agent.model_info.clone()));
        let result = self.execute(stored_state).await;
        let outcome = match result {
            Ok((context, execution, patches)) => self.settle(context, execution, patches).await,
            Err(problem) => {
                self.write_down_failure(RunErrorKind::NotSaved, problem.detail());
                Err(problem)
            }
        };
        if let Err(problem) = &outcome {
            let error = RunError { kind: RunErrorKind::NotSaved, message: problem.detail().to_owned() };
            self.events.push(EventKind::RunError(error));
        }
        self.events.close();
        outcome.map_err(|problem| problem.about_run(self.claim.run_id.0))
    }

    /// Builds the context and lets the engine run; nothing is written.
    async fn execute(
        &self,
        stored_state: Map<String, Value>,
    ) -> Result<(Context, Execution, Vec<Map<String, Value>>), Problem> {
        let options = ContextOptions::new(&self.agent, &self.run);
        let history = if options.history_runs == 0 || self.claim.seq == 1 {
            History::default()
        } else {
            store::history(&self.app.db, &self.claim, i64::from(options.history_runs)).await?
        };
        let mut state = self.agent.settings.session_state.clone();
        tools::apply_patches(&mut state, &[stored_state]);
        let mut toolbox = Toolbox::new(&self.agent.settings, &self.app.db, &self.claim, state);
        if let Some(patch) = &self.run.session_state {
            toolbox.patch_state(patch.clone());
        }
        let context = Context::new(&self.agent, options, history, toolbox.state(), &self.run.message);
        let engine = Engine {
            models: &self.app.models,
            agent: &self.agent,
            events: &self.events,
            stream: self.stream,
            stop: self.app.tasks.stop_token(),
        };
        let execution = engine.run(&context, &mut toolbox).await;
        Ok((context, execution, toolbox.into_patches()))
    }

    /// Stores the end of the run; only then is it told.
    async fn settle(
        &self,
        context: Context,
        execution: Execution,
        patches: Vec<Map<String, Value>>,
    ) -> Result<RunOutput, Problem> {
        let end = End::of(execution, context.record.clone(), patches);
        let settled = self.settle_patiently(&end).await;
        let state = match settled {
            Ok(Settled::Done(state)) => state,
            Ok(Settled::Gone) => {
                self.events.push(EventKind::RunCancelled { reason: "The session was deleted during the run.".into() });
                return Ok(self.output(context, end, RunStatus::Cancelled, Map::new()));
            }
            Err(error) => {
                self.write_down_failure(RunErrorKind::NotSaved, "The answer could not be stored.");
                return Err(error.into());
            }
        };
        match &end.error {
            Some(error) => self.events.push(EventKind::RunError(error.clone())),
            None => self.events.push(EventKind::RunCompleted(Box::new(self.completion(&end, &state)))),
        }
        let status = end.status();
        Ok(self.output(context, end, status, state))
    }

    /// A database that is away for a moment does not cost the answer.
    async fn settle_patiently(&self, end: &End) -> Result<Settled, sqlx::Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .with_total_delay(Some(SETTLE_PATIENCE))
            .without_max_times();
        (|| settle_once(&self.app, &self.claim, end)).retry(backoff).when(database::is_unavailable).await
    }

    /// The caller has been told that the run failed; the database is told as soon as it can hear.
    fn write_down_failure(&self, kind: RunErrorKind, message: &str) {
        let error = RunError { kind, message: message.to_owned() };
        let (app, claim, stop) = (self.app.clone(), self.claim.clone(), self.app.tasks.stop_token().clone());
        let end = End::failed(error, self.agent.model_info.clone());
        self.app.tasks.spawn(async move {
            let backoff = ExponentialBuilder::default()
                .with_max_delay(Duration::from_secs(5))
                .with_total_delay(Some(WRITE_DOWN_PATIENCE))
                .without_max_times();
            let writing = (|| settle_once(&app, &claim, &end)).retry(backoff).when(database::is_unavailable);
            let written = tokio::select! {
                written = writing => written.map(drop),
                () = stop.cancelled() => settle_once(&app, &claim, &end).await.map(drop),
            };
            if let Err(error) = written {
                tracing::error!(run.id = %claim.run_id, %error, "The failure of a run could not be written down.");
            }
        });
    }

    fn completion(&self, end: &End, state: &Map<String, Value>) -> Completion {
        Completion {
            content: end.content.clone().unwrap_or_default(),
            content_type: "str",
            model_provider_data: end.messages.last().and_then(|message| message.provider_data.clone()),
            session_state: state.clone(),
            metrics: end.metrics.clone(),
            metadata: self.accepted.metadata.clone(),
        }
    }

    /// What the caller gets: the run with everything that the model saw.
    fn output(&self, context: Context, end: End, status: RunStatus, state: Map<String, Value>) -> RunOutput {
        let mut question = Message::new(Role::User, Some(self.accepted.input.clone()), self.accepted.at);
        question.message_id = self.accepted.message_id;
        let system = context.system.map(|text| Message::new(Role::System, Some(text), self.accepted.at));
        let history = context.history.into_messages().map(|message| MessageView::new(message, true));
        let messages = (system.into_iter().map(|message| MessageView::new(message, false)))
            .chain(history)
            .chain(MessageView::all([question].into_iter().chain(end.messages).collect()))
            .collect();
        let run = Run {
            session_id: self.claim.session_id.clone(),
            seq: self.claim.seq,
            run_id: self.claim.run_id,
            component_id: self.accepted.component_id.clone(),
            user_id: self.accepted.user_id.clone(),
            status,
            input: self.accepted.input.clone(),
            content: end.content,
            error: end.error,
            model: Some(end.model),
            metrics: end.metrics,
            session_state: Some(state),
            metadata: self.accepted.metadata.clone(),
            context: end.context,
            tools: end.tools,
            created_at: self.accepted.at,
        };
        RunOutput::new(run, &self.agent, messages)
    }
}

/// How a run ended, ready to be stored as often as it takes.
struct End {
    content: Option<String>,
    error: Option<RunError>,
    messages: Vec<Message>,
    tools: Vec<ToolExecution>,
    model: ModelInfo,
    metrics: RunMetrics,
    context: ContextRecord,
    /// Changes of the session's state. A run that failed makes none.
    patches: Vec<Map<String, Value>>,
}

impl End {
    fn of(execution: Execution, context: ContextRecord, patches: Vec<Map<String, Value>>) -> Self {
        let Execution { outcome, messages, tools, model, metrics } = execution;
        let patches = if outcome.is_ok() { patches } else { Vec::new() };
        let (content, error) = match outcome {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        Self { content, error, messages, tools, model, metrics, context, patches }
    }

    fn failed(error: RunError, model: ModelInfo) -> Self {
        Self {
            content: None,
            error: Some(error),
            messages: Vec::new(),
            tools: Vec::new(),
            model,
            metrics: RunMetrics::default(),
            context: ContextRecord::default(),
            patches: Vec::new(),
        }
    }

    fn status(&self) -> RunStatus {
        if self.error.is_some() { RunStatus::Error } else { RunStatus::Completed }
    }

    fn settlement<'a>(&'a self, session_state: Option<&'a Map<String, Value>>) -> Settlement<'a> {
        Settlement {
            status: self.status(),
            content: self.content.as_deref(),
            error: self.error.as_ref(),
            model: &self.model,
            metrics: &self.metrics,
            session_state,
            context: &self.context,
            tools: &self.tools,
            messages: &self.messages,
            at: Utc::now(),
        }
    }
}

enum Settled {
    /// The session's state after the run.
    Done(Map<String, Value>),
    /// The session, or the run, was deleted meanwhile.
    Gone,
}

/// One try at the settling transaction. Safe to repeat: a run that has ended already stays as it is.
async fn settle_once(app: &App, claim: &Claim, end: &End) -> Result<Settled, sqlx::Error> {
    if end.patches.is_empty() {
        // The statement is a transaction of its own.
        let mut connection = app.db.acquire().await?;
        let state = store::settle(&mut connection, claim, &end.settlement(None)).await?;
        return Ok(state.map_or(Settled::Gone, Settled::Done));
    }
    let mut tx = app.db.begin().await?;
    let Some(mut state) = store::lock_session_state(&mut tx, claim).await? else { return Ok(Settled::Gone) };
    tools::apply_patches(&mut state, &end.patches);
    if store::settle(&mut tx, claim, &end.settlement(Some(&state))).await?.is_none() {
        return Ok(Settled::Gone);
    }
    tx.commit().await?;
    Ok(Settled::Done(state))
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
