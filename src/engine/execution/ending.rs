//! The end of a run: stores the outcome, sends the last event, and returns the outcome to the caller.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use serde_json::{Map, Value};

use super::{Outcome, Work};
use crate::{
    engine::{
        follow_up::{self, FollowUp},
        settlement::{End, insist, settle_once},
    },
    events::{Completion, EventKind},
    memories::{self, AfterRun, extraction},
    model::{Error, Message, Role, Run, RunError, RunStatus, Scope, error::is_unavailable},
    prompt::{Context, ContextOptions},
    runs::{self, store::Settled},
};

/// How long settling is retried while the database is unavailable and the caller waits.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

impl Work {
    /// Stores the outcome of the run, and only then sends the last event.
    pub(super) async fn settle(&self, context: Option<Context>, mut end: End) -> Result<Outcome, Error> {
        let events = &self.entry.run.events;
        end.events = events.unstored();
        end.webhook_url.clone_from(&self.spec.delivery.webhook_url);
        end.replaces = self.spec.continuation.as_ref().filter(|it| it.replaces && end.error.is_none()).map(|it| it.of);
        let state = match self.settle_patiently(&end).await? {
            Some(after) => {
                events.note_stored(&end.events);
                after.session_state
            }
            None => Box::pin(self.explain_missing(&mut end)).await?,
        };
        if end.error.is_none() && self.spec.delivery.wait_for_background {
            Box::pin(self.learn_now(&end)).await;
        }
        match &end.error {
            Some(error) if error.kind.status() == RunStatus::Cancelled => {
                events.push(EventKind::RunCancelled { reason: error.message.clone() });
            }
            Some(error) => {
                self.log(error, end.error_detail.as_deref());
                events.push(EventKind::RunError { error: error.clone() });
            }
            None => {
                if self.spec.delivery.wait_for_background {
                    let overrides = &self.spec.overrides;
                    Box::pin(follow_up::do_now(&self.app, &self.agent, overrides, &self.claim, events)).await;
                }
                events.push_with(|| EventKind::RunCompleted { completion: Box::new(self.completion(&end, &state)) });
            }
        }
        Ok(self.output(context, end, state))
    }

    /// Learns now what a job would learn later. If it fails, the job, which is queued already, will do it.
    async fn learn_now(&self, end: &End) {
        let Some(user) = end.memories.as_ref().map(AfterRun::user) else { return };
        let events = &self.entry.run.events;
        events.push(EventKind::MemoryUpdateStarted);
        // After an error, the event still contains what could be learned.
        if let Err(error) = extraction::learn(&self.app, &self.claim.tenant_id, user).await {
            tracing::warn!(run.id = %self.claim.run_id, %error, "Memories could not all be updated now; a job will do it.");
        }
        let memories = memories::service::known(&self.app, &self.claim.tenant_id, user).await.unwrap_or_else(|error| {
            tracing::warn!(run.id = %self.claim.run_id, %error, "The memories could not be read for their event.");
            Vec::new()
        });
        events.push(EventKind::MemoryUpdateCompleted { memories });
    }

    /// Retries with backoff, so that a short outage of the database does not lose the answer.
    async fn settle_patiently(&self, end: &End) -> Result<Option<Settled>, sqlx::Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .with_total_delay(Some(SETTLE_PATIENCE))
            .without_max_times();
        (|| Box::pin(settle_once(&self.app, &self.claim, end))).retry(backoff).when(is_unavailable).await
    }

    /// Finds out why nothing was settled: an earlier attempt has succeeded after all, the session was deleted, the
    /// database has lost the run, or the run no longer belongs to this process.
    async fn explain_missing(&self, end: &mut End) -> Result<Map<String, Value>, Error> {
        let own = Scope::System(self.claim.tenant_id.clone(), "the run is this process's own");
        let found = runs::store::find(&self.app.db, &own, self.claim.run_id).await?;
        let (error, state) = match found {
            Some(run) if (run.status, &run.content, &run.error) == (end.status(), &end.content, &end.error) => {
                return Ok(run.session_state.unwrap_or_default());
            }
            Some(run) => (run.error.unwrap_or_else(RunError::interrupted), run.session_state.unwrap_or_default()),
            // An acceptance is committed asynchronously: a crash of the database may lose it.
            None if runs::store::was_lost(&self.app.db, &self.claim, self.opening.created_at).await? => {
                return Err(Error::unavailable("The database has lost this run in a crash; send the message again"));
            }
            None => (RunError::cancelled("The session was deleted during the run."), Map::new()),
        };
        (end.content, end.error) = (None, Some(error));
        Ok(state)
    }

    /// Stores the failure as soon as the database is available. The caller has already been told.
    pub(super) fn write_down(&self, error: RunError) {
        let (app, claim, entry) = (self.app.clone(), self.claim.clone(), self.entry.clone());
        let mut end = End::failed(error, self.agent.model_info.clone());
        end.webhook_url.clone_from(&self.spec.delivery.webhook_url);
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

    pub(super) fn follow_up(&self, context: &Context, end: &End) -> FollowUp {
        let options = ContextOptions::new(&self.agent, &self.spec.overrides);
        FollowUp::of(&self.agent, options, context, &self.claim, &end.messages, end.status())
    }

    /// The user's message as it is stored.
    fn question(&self) -> Message {
        let question = Message::new(Role::User, Some(self.opening.input.clone()), self.opening.created_at);
        Message { message_id: self.opening.message_id, ..question }
    }

    fn completion(&self, end: &End, state: &Map<String, Value>) -> Completion {
        Completion {
            content: end.content.clone().unwrap_or_default(),
            model_provider_data: end.messages.last().and_then(|message| message.provider_data.clone()),
            session_state: state.clone(),
            metrics: end.metrics.clone(),
            metadata: self.opening.metadata.clone(),
        }
    }

    /// The result for the caller: the run with everything that the model saw.
    fn output(&self, context: Option<Context>, end: End, state: Map<String, Value>) -> Outcome {
        let opening = &self.opening;
        let (system, summary, history) =
            context.map(|context| (context.system, context.summary, context.history)).unwrap_or_default();
        let summary = summary.map(|text| Message::new(Role::User, Some(text), opening.created_at));
        let history = summary.into_iter().chain(history.into_messages()).collect();
        let status = end.status();
        let said = [self.question()].into_iter().chain(end.messages).collect();
        let run = Run {
            session_id: self.claim.session_id.clone(),
            seq: self.claim.seq,
            run_id: self.claim.run_id,
            component_id: opening.component_id.clone(),
            user_id: opening.user_id.clone(),
            status,
            input: opening.input.clone(),
            content: end.content,
            error: end.error,
            model: Some(end.model),
            metrics: end.metrics,
            session_state: Some(state),
            metadata: opening.metadata.clone(),
            context: end.context,
            tools: end.tools,
            forked_from_run_id: opening.forked_from_run_id,
            regenerated_from: opening.regenerated_from,
            created_at: opening.created_at,
        };
        Outcome { run, system, history, said }
    }
}
