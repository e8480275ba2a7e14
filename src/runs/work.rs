//! One accepted run on its way: turn, context, engine, settling.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use axum::http::StatusCode;
use backon::{ExponentialBuilder, Retryable};
use chrono::{DateTime, Utc};
use futures::FutureExt;
use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    context::{Context, ContextOptions, Past},
    continuing::{self, Continuation},
    end::{End, insist, settle_once},
    engine::{Engine, Execution},
    events::{Completion, EventKind},
    flush,
    follow_up::{self, FollowUp},
    model::{Message, Role, Run, RunError, RunErrorKind, RunId, RunStatus},
    registry::Entry,
    request::CreateRun,
    store::{self, Claim, PutBack},
    turns,
    wire::{MessageView, RunOutput},
};
use crate::{
    agents::Agent,
    app::App,
    auth::{Scope, UserId},
    clock, database,
    http::Problem,
    memories::{
        self, AfterRun, extraction,
        recall::{self, Recalling},
    },
    tools::{self, Toolbox, Wishes},
};

/// How long a caller waits for a database that went away during the run.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// What was accepted.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) component_id: String,
    pub(super) user_id: Option<UserId>,
    pub(super) input: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) message_id: Uuid,
    pub(super) forked_from_run_id: Option<RunId>,
    pub(super) regenerated_from: Option<RunId>,
    pub(super) at: DateTime<Utc>,
}

/// What a run's execution begins with.
pub(super) struct Beginning {
    /// The session's.
    pub(super) state: Map<String, Value>,
    /// Whether another process has begun the run before.
    pub(super) again: bool,
    /// The memories for the prompt, if they are being looked for already.
    pub(super) recalling: Option<Recalling>,
}

impl Beginning {
    pub(super) fn with(state: Map<String, Value>) -> Self {
        Self { state, again: false, recalling: None }
    }
}

/// One accepted run on its way.
pub(super) struct Work {
    pub(super) app: Arc<App>,
    pub(super) agent: Arc<Agent>,
    pub(super) run: CreateRun,
    pub(super) continuation: Option<Continuation>,
    pub(super) origin: Origin,
    pub(super) claim: Claim,
    /// Kept until the end is written down, so that the run is known to this process for so long.
    pub(super) entry: Arc<Entry>,
    /// Whether somebody hears the answer piece by piece, now or later.
    pub(super) stream: bool,
}

impl Work {
    /// Waits for the run's turn, executes and settles; whatever happens, the run ends and its events do.
    pub(super) async fn wait_and_carry_out(mut self) -> Result<RunOutput, Problem> {
        let app = self.app.clone();
        match turns::wait(&app, &self.entry.run, &mut self.claim).await {
            Ok(state) => self.carry_out(Beginning::with(state)).await,
            Err(reason) => {
                let end = End::failed(reason, self.agent.model_info.clone());
                let outcome = self.settle(None, end).await;
                self.conclude(outcome.map(Some))
            }
        }
    }

    /// Executes and settles; whatever happens, the run ends and its events do.
    pub(super) async fn carry_out(&self, beginning: Beginning) -> Result<RunOutput, Problem> {
        let work = AssertUnwindSafe(self.execute_and_settle(beginning)).catch_unwind();
        let outcome = work.await.unwrap_or_else(|_| Err(anyhow!("a run panicked").into()));
        self.conclude(outcome)
    }

    /// `None`: the run goes on in another process.
    fn conclude(&self, outcome: Result<Option<RunOutput>, Problem>) -> Result<RunOutput, Problem> {
        let events = &self.entry.run.events;
        let outcome = match outcome {
            Ok(Some(output)) => Ok(output),
            Ok(None) => {
                events.hand_on();
                let detail = "The run goes on in the background; GET it by its id";
                return Err(Problem::unavailable(detail).about_run(self.claim.run_id.0));
            }
            Err(problem) => {
                let error = RunError { kind: RunErrorKind::NotSaved, message: problem.detail().to_owned() };
                events.push(&EventKind::RunError(error.clone()));
                self.write_down(error);
                Err(problem)
            }
        };
        events.close();
        outcome.map_err(|problem| problem.about_run(self.claim.run_id.0))
    }

    async fn execute_and_settle(&self, beginning: Beginning) -> Result<Option<RunOutput>, Problem> {
        let began = if beginning.again {
            EventKind::RunContinued
        } else {
            EventKind::RunStarted(self.agent.model_info.clone())
        };
        self.entry.run.events.push(&began);
        let storing = flush::keep_stored(&self.app, &self.claim, &self.entry.run.events);
        let executing = async {
            let executed = self.execute(beginning).await;
            storing.stop();
            executed
        };
        let (context, execution, wishes) = match tokio::join!(executing, storing.run()) {
            (Ok(executed), ()) => executed,
            // No model has been asked yet.
            (Err(problem), ()) if self.run.is_background() && problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
                return self.put_back_for_later(problem).await;
            }
            (Err(problem), ()) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
                let error = RunError { kind: RunErrorKind::StateTooLarge, message: problem.detail().to_owned() };
                return self.settle(None, End::failed(error, self.agent.model_info.clone())).await.map(Some);
            }
            (Err(problem), ()) => return Err(problem),
        };
        let Wishes { patches, memories } = wishes;
        let mut end = End::of(execution, context.record.clone(), patches);
        end.follow_up = self.follow_up(&context, &end);
        let settings = self.run.memory_settings(&self.agent.settings);
        if end.error.is_none() {
            end.memories = AfterRun::new(&settings, self.origin.user_id.as_ref(), memories);
        }
        if self.is_left_to_others(&end).await? {
            return Ok(None);
        }
        self.settle(Some(context), end).await.map(Some)
    }

    /// A background run that a shutdown interrupts is not over: another process goes on with it.
    async fn is_left_to_others(&self, end: &End) -> Result<bool, sqlx::Error> {
        let is_interrupted = end.error.as_ref().is_some_and(|error| error.kind == RunErrorKind::Interrupted);
        if !is_interrupted || !self.run.is_background() {
            return Ok(false);
        }
        let heard = self.entry.run.events.unstored();
        store::append_events(&self.app.db, &self.claim, &heard, clock::now()).await?;
        let mut connection = self.app.db.acquire().await?;
        let is_left = store::put_back(&mut connection, &self.claim, PutBack::Interrupted).await?;
        if is_left {
            turns::tell(&self.app, &turns::Message::Work).await;
        }
        Ok(is_left)
    }

    /// A background run that cannot be begun now is begun again after a pause, here or elsewhere.
    async fn put_back_for_later(&self, problem: Problem) -> Result<Option<RunOutput>, Problem> {
        tracing::warn!(run.id = %self.claim.run_id, "A background run cannot be begun now; it is put back.");
        let put_back = || async {
            store::append_events(&self.app.db, &self.claim, &self.entry.run.events.unstored(), clock::now()).await?;
            store::put_back(&mut *self.app.db.acquire().await?, &self.claim, PutBack::Failed).await
        };
        match insist(&self.app, put_back).await {
            Ok(true) => Ok(None),
            // It has ended, or is not this process's any more.
            Ok(false) => Err(problem),
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the context and lets the engine run; nothing is written.
    async fn execute(&self, beginning: Beginning) -> Result<(Context, Execution, Wishes), Problem> {
        let deadline = Instant::now() + self.app.settings.runs.deadline;
        let options = ContextOptions::new(&self.agent, &self.run);
        let past = async {
            if !options.looks_back() || self.claim.seq == 1 {
                return Ok(Past::default());
            }
            let without = self.continuation.as_ref().filter(|it| it.replaces).map(|it| it.of);
            store::past(&self.app.db, &self.claim, without, &options).await
        };
        let mut state = self.agent.settings.session_state.clone();
        tools::apply_patches(&mut state, &[beginning.state]);
        let settings = self.run.memory_settings(&self.agent.settings);
        let user = self.origin.user_id.as_ref();
        let recalled = async {
            match beginning.recalling {
                Some(recalling) => recalling.finish().await,
                None => recall::recall(&self.app, &settings, user, &self.origin.input).await,
            }
        };
        let (past, recalled) = tokio::try_join!(past, recalled)?;
        let mut toolbox = Toolbox::new(&settings, &self.app, &self.claim, user, state);
        if let Some(patch) = &self.run.session_state {
            toolbox.patch_state(patch.clone())?;
        }
        let context = Context::new(&self.agent, options, past, recalled, toolbox.state(), &self.origin.input);
        let engine = Engine {
            models: &self.app.models,
            agent: &self.agent,
            events: &self.entry.run.events,
            stream: self.stream,
            stop: &self.entry.run.stop,
            shutdown: self.app.tasks.stop_token(),
            deadline,
            max_answer_bytes: self.app.settings.runs.max_answer_bytes,
        };
        let begun = match &self.continuation {
            Some(continuation) => continuing::begun(&self.app, continuation).await?,
            None => Vec::new(),
        };
        let mut execution = engine.run(&context, begun, &mut toolbox).await;
        if let (Some(error), Some(_)) = (&mut execution.error, &execution.error_detail) {
            let (said, run_id) = (&error.message, self.claim.run_id);
            error.message = format!("{said} The server's log says more under the run's id, {run_id}.");
        }
        Ok((context, execution, toolbox.into_wishes()))
    }

    /// Stores the end of the run; only then is it told.
    async fn settle(&self, context: Option<Context>, mut end: End) -> Result<RunOutput, Problem> {
        let events = &self.entry.run.events;
        end.events = events.unstored();
        end.jobs.extend(self.run.webhook(self.claim.run_id));
        end.replaces = self.continuation.as_ref().filter(|it| it.replaces && end.error.is_none()).map(|it| it.of);
        let state = match self.settle_patiently(&end).await? {
            Some(after) => {
                events.note_stored(&end.events);
                after.session_state
            }
            None => self.explain_missing(&mut end).await?,
        };
        if end.error.is_none() && self.run.wait_for_background == Some(true) {
            self.learn_now(&end).await;
        }
        match &end.error {
            Some(error) if error.kind.status() == RunStatus::Cancelled => {
                events.push(&EventKind::RunCancelled { reason: error.message.clone() });
            }
            Some(error) => {
                self.log(error, end.error_detail.as_deref());
                events.push(&EventKind::RunError(error.clone()));
            }
            None => {
                if self.run.wait_for_background.unwrap_or(false) {
                    follow_up::do_now(&self.app, &self.agent, &self.run, &self.claim, events).await;
                }
                events.push(&EventKind::RunCompleted(Box::new(self.completion(&end, &state))));
            }
        }
        Ok(self.output(context, end, state))
    }

    /// Does what a job would do later. If it fails, the job, which waits already, will do it.
    async fn learn_now(&self, end: &End) {
        let Some(user) = end.memories.as_ref().map(AfterRun::user) else { return };
        let events = &self.entry.run.events;
        events.push(&EventKind::MemoryUpdateStarted);
        // What could be learned is told all the same.
        if let Err(error) = extraction::learn(&self.app, user).await {
            tracing::warn!(run.id = %self.claim.run_id, %error, "Memories could not all be updated now; a job will do it.");
        }
        let memories = memories::service::updated(&self.app, user).await.unwrap_or_else(|error| {
            tracing::warn!(run.id = %self.claim.run_id, %error, "The memories could not be read for their event.");
            Vec::new()
        });
        events.push(&EventKind::MemoryUpdateCompleted { memories });
    }

    /// A database that is away for a moment does not cost the answer.
    async fn settle_patiently(&self, end: &End) -> Result<Option<store::AfterRun>, sqlx::Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .with_total_delay(Some(SETTLE_PATIENCE))
            .without_max_times();
        (|| settle_once(&self.app, &self.claim, end)).retry(backoff).when(database::is_unavailable).await
    }

    /// Nothing was settled: an earlier try has succeeded after all, the session was deleted, or the run is no longer
    /// this process's.
    async fn explain_missing(&self, end: &mut End) -> Result<Map<String, Value>, Problem> {
        let found = store::find(&self.app.db, &Scope::All, self.claim.run_id).await?;
        let (error, state) = match found {
            Some(run) if (run.status, &run.content, &run.error) == (end.status(), &end.content, &end.error) => {
                return Ok(run.session_state.unwrap_or_default());
            }
            Some(run) => (run.error.unwrap_or_else(RunError::interrupted), run.session_state.unwrap_or_default()),
            // An acceptance is committed asynchronously: a crash of the database may lose it.
            None if store::was_lost(&self.app.db, &self.claim, self.origin.at).await? => {
                return Err(Problem::unavailable("The database has lost this run in a crash; send the message again"));
            }
            None => (RunError::cancelled("The session was deleted during the run."), Map::new()),
        };
        (end.content, end.error) = (None, Some(error));
        Ok(state)
    }

    /// The caller has been told that the run failed; the database is told as soon as it can hear.
    fn write_down(&self, error: RunError) {
        let (app, claim, entry) = (self.app.clone(), self.claim.clone(), self.entry.clone());
        let mut end = End::failed(error, self.agent.model_info.clone());
        end.jobs.extend(self.run.webhook(claim.run_id));
        self.app.tasks.spawn(async move {
            if let Err(error) = insist(&app, || settle_once(&app, &claim, &end)).await {
                tracing::error!(run.id = %claim.run_id, %error, "The failure of a run could not be written down.");
            }
            drop(entry);
        });
    }

    fn log(&self, error: &RunError, detail: Option<&str>) {
        tracing::warn!(
            run.id = %self.claim.run_id,
            session.id = %self.claim.session_id,
            agent = self.agent.settings.id,
            model = self.agent.model_info.id,
            error = error.kind.as_str(),
            detail,
            "A run ended with an error; it is kept with its reason."
        );
    }

    fn follow_up(&self, context: &Context, end: &End) -> FollowUp {
        let options = ContextOptions::new(&self.agent, &self.run);
        FollowUp::of(&self.agent, options, context, &self.claim, &self.question(), &end.messages, end.status())
    }

    /// The user's message as it is stored.
    fn question(&self) -> Message {
        let question = Message::new(Role::User, Some(self.origin.input.clone()), self.origin.at);
        Message { message_id: self.origin.message_id, ..question }
    }

    fn completion(&self, end: &End, state: &Map<String, Value>) -> Completion {
        Completion {
            content: end.content.clone().unwrap_or_default(),
            content_type: "str",
            model_provider_data: end.messages.last().and_then(|message| message.provider_data.clone()),
            session_state: state.clone(),
            metrics: end.metrics.clone(),
            metadata: self.origin.metadata.clone(),
        }
    }

    /// What the caller gets: the run with everything that the model saw.
    fn output(&self, context: Option<Context>, end: End, state: Map<String, Value>) -> RunOutput {
        let origin = &self.origin;
        let (system, summary, history) =
            context.map(|context| (context.system, context.summary, context.history)).unwrap_or_default();
        let system = system.map(|text| Message::new(Role::System, Some(text), origin.at));
        let summary = summary.map(|text| Message::new(Role::User, Some(text), origin.at));
        let history = summary.into_iter().chain(history.into_messages());
        let history = history.map(|message| MessageView::new(message, true));
        let status = end.status();
        let messages = (system.into_iter().map(|message| MessageView::new(message, false)))
            .chain(history)
            .chain(MessageView::all([self.question()].into_iter().chain(end.messages).collect()))
            .collect();
        let run = Run {
            session_id: self.claim.session_id.clone(),
            seq: self.claim.seq,
            run_id: self.claim.run_id,
            component_id: origin.component_id.clone(),
            user_id: origin.user_id.clone(),
            status,
            input: origin.input.clone(),
            content: end.content,
            error: end.error,
            model: Some(end.model),
            metrics: end.metrics,
            session_state: Some(state),
            metadata: origin.metadata.clone(),
            context: end.context,
            tools: end.tools,
            forked_from_run_id: origin.forked_from_run_id,
            regenerated_from: origin.regenerated_from,
            created_at: origin.at,
        };
        RunOutput::new(run, &self.agent, messages)
    }
}
