//! One accepted run on its way: context, engine, settling.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use backon::{ExponentialBuilder, Retryable};
use futures::FutureExt;
use serde_json::{Map, Value};

use super::{
    context::{Context, ContextOptions, Past},
    end::{End, Settled, settle_once},
    engine::{Engine, Execution},
    events::{Completion, EventKind, EventLog},
    follow_up::FollowUp,
    model::{Message, Role, Run, RunError, RunErrorKind, RunStatus},
    request::CreateRun,
    store::{self, Claim, NewRun},
    wire::{MessageView, RunOutput},
};
use crate::{
    agents::Agent,
    app::App,
    database,
    http::Problem,
    tools::{self, Toolbox},
};

/// How long a caller waits for a database that went away during the run.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the failure is then tried to be written down, behind the caller's back.
const WRITE_DOWN_PATIENCE: Duration = Duration::from_hours(1);

/// One accepted run on its way.
pub(super) struct Work {
    pub(super) app: Arc<App>,
    pub(super) agent: Arc<Agent>,
    pub(super) run: CreateRun,
    pub(super) accepted: NewRun,
    pub(super) claim: Claim,
    pub(super) events: EventLog,
    pub(super) stream: bool,
}

impl Work {
    /// Executes and settles; whatever happens, the run ends and its events do.
    pub(super) async fn carry_out(&self, stored_state: Map<String, Value>) -> Result<RunOutput, Problem> {
        let work = AssertUnwindSafe(self.execute_and_settle(stored_state)).catch_unwind();
        let outcome = work.await.unwrap_or_else(|_| Err(anyhow!("a run panicked").into()));
        if let Err(problem) = &outcome {
            let error = RunError { kind: RunErrorKind::NotSaved, message: problem.detail().to_owned() };
            self.events.push(EventKind::RunError(error.clone()));
            self.write_down(error);
        }
        self.events.close();
        outcome.map_err(|problem| problem.about_run(self.claim.run_id.0))
    }

    async fn execute_and_settle(&self, stored_state: Map<String, Value>) -> Result<RunOutput, Problem> {
        self.events.push(EventKind::RunStarted(self.agent.model_info.clone()));
        let (context, execution, patches) = self.execute(stored_state).await?;
        self.settle(context, execution, patches).await
    }

    /// Builds the context and lets the engine run; nothing is written.
    async fn execute(
        &self,
        stored_state: Map<String, Value>,
    ) -> Result<(Context, Execution, Vec<Map<String, Value>>), Problem> {
        let options = ContextOptions::new(&self.agent, &self.run);
        let past = if options.looks_back() && self.claim.seq > 1 {
            store::past(&self.app.db, &self.claim, &options).await?
        } else {
            Past::default()
        };
        let mut state = self.agent.settings.session_state.clone();
        tools::apply_patches(&mut state, &[stored_state]);
        let mut toolbox = Toolbox::new(&self.agent.settings, &self.app.db, &self.claim, state);
        if let Some(patch) = &self.run.session_state {
            toolbox.patch_state(patch.clone());
        }
        let context = Context::new(&self.agent, options, past, toolbox.state(), &self.run.message);
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
        let mut end = End::of(execution, context.record.clone(), patches);
        end.follow_up = self.follow_up(&context, &end);
        let state = match self.settle_patiently(&end).await? {
            Settled::Done(state) => state,
            Settled::Gone => {
                self.events.push(EventKind::RunCancelled { reason: "The session was deleted during the run.".into() });
                return Ok(self.output(context, end, RunStatus::Cancelled, Map::new()));
            }
        };
        match &end.error {
            Some(error) => {
                self.log(error);
                self.events.push(EventKind::RunError(error.clone()));
            }
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
    fn write_down(&self, error: RunError) {
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

    /// Without the message: a provider's may quote the prompt.
    fn log(&self, error: &RunError) {
        tracing::warn!(
            run.id = %self.claim.run_id,
            session.id = %self.claim.session_id,
            agent = self.agent.settings.id,
            model = self.agent.model_info.id,
            error = error.kind.as_str(),
            "A run ended with an error; it is kept with its reason."
        );
    }

    fn follow_up(&self, context: &Context, end: &End) -> FollowUp {
        let options = ContextOptions::new(&self.agent, &self.run);
        FollowUp::of(&self.agent, options, context, &self.claim, &self.question(), &end.messages, end.status())
    }

    /// The user's message as it is stored.
    fn question(&self) -> Message {
        let question = Message::new(Role::User, Some(self.accepted.input.clone()), self.accepted.at);
        Message { message_id: self.accepted.message_id, ..question }
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
        let system = context.system.map(|text| Message::new(Role::System, Some(text), self.accepted.at));
        let history = context.history.into_messages().map(|message| MessageView::new(message, true));
        let messages = (system.into_iter().map(|message| MessageView::new(message, false)))
            .chain(history)
            .chain(MessageView::all([self.question()].into_iter().chain(end.messages).collect()))
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
