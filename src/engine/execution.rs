//! Executes one accepted run: waits for its turn, builds the context, runs the model loop. `ending` settles it.

mod ending;

use std::{panic::AssertUnwindSafe, sync::Arc};

use anyhow::anyhow;
use futures::FutureExt;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    continuation,
    model_loop::{Engine, Execution},
    settlement::{End, insist},
};
use crate::{
    agents::Agent,
    app::App,
    clock,
    events::{self, EventKind, flush},
    memories::{
        AfterRun,
        recall::{self, Recalling},
    },
    model::{Claim, Error, ErrorKind, Message, Opening, Run, RunError, RunErrorKind, state},
    processes::{self, bus, line, registry::Entry, store::PutBack},
    prompt::{self, Context, ContextOptions, Past},
    runs::spec::RunSpec,
    tools::{Toolbox, Wishes},
};

/// A run that has ended, with everything that the model saw.
#[derive(Debug)]
pub struct Outcome {
    pub run: Run,
    pub system: Option<String>,
    /// Messages of earlier runs that were shown to the model again.
    pub history: Vec<Message>,
    /// The run's own messages.
    pub said: Vec<Message>,
}

/// What the execution of a run starts from.
pub(crate) struct Beginning {
    /// The session's state.
    pub(crate) state: Map<String, Value>,
    /// Whether an earlier attempt has begun the run.
    pub(crate) again: bool,
    /// The recall of memories for the prompt, if it has been started already.
    pub(crate) recalling: Option<Recalling>,
}

impl Beginning {
    pub(crate) fn with(state: Map<String, Value>) -> Self {
        Self { state, again: false, recalling: None }
    }
}

/// One accepted run, with what is needed to execute it.
pub(crate) struct Work {
    pub(crate) app: Arc<App>,
    pub(crate) agent: Arc<Agent>,
    pub(crate) spec: RunSpec,
    pub(crate) opening: Opening,
    pub(crate) claim: Claim,
    /// Kept until the outcome is stored, so that the run stays in the registry until then.
    pub(crate) entry: Arc<Entry>,
    /// Whether the answer is streamed to a reader, now or later.
    pub(crate) stream: bool,
}

impl Work {
    /// Waits for the run's turn, executes and settles it. Whatever happens, the run ends and its event log is closed.
    pub(crate) async fn wait_and_carry_out(mut self) -> Result<Outcome, Error> {
        let app = self.app.clone();
        match line::wait(&app, &self.entry.run, &mut self.claim).await {
            Ok(state) => self.carry_out(Beginning::with(state)).await,
            Err(reason) => {
                let end = End::failed(reason, self.agent.model_info.clone());
                let outcome = self.settle(None, end).await;
                self.conclude(outcome.map(Some))
            }
        }
    }

    /// Executes the run and settles it. Whatever happens, the run ends or is put back, and its event log is closed.
    pub(crate) async fn carry_out(&self, beginning: Beginning) -> Result<Outcome, Error> {
        let work = AssertUnwindSafe(Box::pin(self.execute_and_settle(beginning))).catch_unwind();
        let outcome = work.await.unwrap_or_else(|_| Err(anyhow!("a run panicked").into()));
        self.conclude(outcome)
    }

    /// Closes the event log. `outcome` is `None` if the run was put back and continues elsewhere.
    fn conclude(&self, outcome: Result<Option<Outcome>, Error>) -> Result<Outcome, Error> {
        let events = &self.entry.run.events;
        let outcome = match outcome {
            Ok(Some(output)) => Ok(output),
            Ok(None) => {
                events.hand_on();
                let detail = "The run goes on in the background; GET it by its id";
                return Err(Error::unavailable(detail).about_run(self.claim.run_id));
            }
            Err(problem) => {
                let error = RunError { kind: RunErrorKind::NotSaved, message: problem.detail().to_owned() };
                events.push(EventKind::RunError { error: error.clone() });
                self.write_down(error);
                Err(problem)
            }
        };
        events.close();
        outcome.map_err(|problem| problem.about_run(self.claim.run_id))
    }

    async fn execute_and_settle(&self, beginning: Beginning) -> Result<Option<Outcome>, Error> {
        self.entry.run.events.push_with(|| {
            if beginning.again {
                EventKind::RunContinued
            } else {
                EventKind::RunStarted { model: self.agent.model_info.clone() }
            }
        });
        let storing = flush::keep_stored(&self.app, &self.claim, &self.entry.run.events);
        let executing = async {
            let executed = Box::pin(self.execute(beginning)).await;
            storing.stop();
            executed
        };
        let (context, execution, wishes) = match tokio::join!(executing, storing.run()) {
            (Ok(executed), ()) => executed,
            // No model has been called yet.
            (Err(problem), ()) if self.spec.delivery.background && problem.kind() == ErrorKind::Unavailable => {
                return Box::pin(self.put_back_for_later(problem)).await;
            }
            (Err(problem), ()) if problem.kind() == ErrorKind::Invalid => {
                let error = RunError { kind: RunErrorKind::StateTooLarge, message: problem.detail().to_owned() };
                let end = End::failed(error, self.agent.model_info.clone());
                return Box::pin(self.settle(None, end)).await.map(Some);
            }
            (Err(problem), ()) => return Err(problem),
        };
        let Wishes { patches, memories } = wishes;
        let mut end = End::of(execution, context.record.clone(), patches);
        end.follow_up = self.follow_up(&context, &end);
        let settings = self.spec.overrides.memory_settings(&self.agent.settings);
        if end.error.is_none() {
            end.memories = AfterRun::new(&settings, self.opening.user_id.as_ref(), memories);
        }
        if Box::pin(self.is_left_to_others(&end)).await? {
            return Ok(None);
        }
        self.settle(Some(context), end).await.map(Some)
    }

    /// Puts back a background run that was interrupted by a shutdown: another process continues it.
    async fn is_left_to_others(&self, end: &End) -> Result<bool, sqlx::Error> {
        let is_interrupted = end.error.as_ref().is_some_and(|error| error.kind == RunErrorKind::Interrupted);
        if !is_interrupted || !self.spec.delivery.background {
            return Ok(false);
        }
        let heard = self.entry.run.events.unstored();
        events::store::append_events(&self.app.db, &self.claim, &heard, clock::now()).await?;
        let mut connection = self.app.db.acquire().await?;
        let is_left = processes::store::put_back(&mut connection, &self.claim, PutBack::Interrupted).await?;
        if is_left {
            bus::tell(&self.app, bus::Signal::Work).await;
        }
        Ok(is_left)
    }

    /// Puts back a background run that cannot begin now. It is retried after a pause, here or in another process.
    async fn put_back_for_later(&self, problem: Error) -> Result<Option<Outcome>, Error> {
        tracing::warn!(run.id = %self.claim.run_id, "A background run cannot be begun now; it is put back.");
        let put_back = || async {
            let unstored = self.entry.run.events.unstored();
            events::store::append_events(&self.app.db, &self.claim, &unstored, clock::now()).await?;
            processes::store::put_back(&mut *self.app.db.acquire().await?, &self.claim, PutBack::Failed).await
        };
        match insist(&self.app, put_back).await {
            Ok(true) => Ok(None),
            // It has ended, or no longer belongs to this process.
            Ok(false) => Err(problem),
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the context and runs the model loop. Stores nothing.
    async fn execute(&self, beginning: Beginning) -> Result<(Context, Execution, Wishes), Error> {
        let deadline = Instant::now() + self.app.settings.runs.deadline;
        let options = ContextOptions::new(&self.agent, &self.spec.overrides);
        let past = async {
            if !options.looks_back() || self.claim.seq == 1 {
                return Ok(Past::default());
            }
            let without = self.spec.continuation.as_ref().filter(|it| it.replaces).map(|it| it.of);
            let mut lane = self.app.lanes.acquire().await?;
            let past = prompt::store::past(&mut lane, &self.claim, without, &options).await?;
            lane.keep();
            Ok::<_, sqlx::Error>(past)
        };
        let mut state = self.agent.settings.session_state.clone();
        state::apply_patches(&mut state, &[beginning.state]);
        let settings = self.spec.overrides.memory_settings(&self.agent.settings);
        let user = self.opening.user_id.as_ref();
        let recalled = async {
            if let Some(recalling) = beginning.recalling {
                return recalling.finish().await;
            }
            let tenant = &self.claim.tenant_id;
            Box::pin(recall::recall(&self.app, &settings, tenant, user, &self.opening.input)).await
        };
        let (past, recalled) = tokio::try_join!(past, recalled)?;
        let mut toolbox = Toolbox::new(&settings, &self.app, &self.claim, user, state);
        if let Some(patch) = &self.spec.session_state {
            toolbox.patch_state(patch.clone())?;
        }
        let context = Context::new(&self.agent, options, past, recalled, toolbox.state(), &self.opening.input);
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
        let begun = match &self.spec.continuation {
            Some(continuation) => Box::pin(continuation::begun(&self.app, &self.claim.tenant_id, continuation)).await?,
            None => Vec::new(),
        };
        let mut execution = engine.run(&context, begun, &mut toolbox).await;
        if let (Some(error), Some(_)) = (&mut execution.error, &execution.error_detail) {
            let (said, run_id) = (&error.message, self.claim.run_id);
            error.message = format!("{said} The server's log says more under the run's id, {run_id}.");
        }
        Ok((context, execution, toolbox.into_wishes()))
    }
}
