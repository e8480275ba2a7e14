//! How a run ends, and how that is stored.

use std::{sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::{
    engine::Execution,
    follow_up::FollowUp,
    model::{ContextRecord, Message, RunError, RunId, RunMetrics, RunStatus},
    store::{self, AfterRun, Claim, EventBatch, Settlement},
    turns,
    wire::ToolExecution,
};
use crate::{
    app::App,
    auth::UserId,
    clock, database,
    jobs::{self, Job},
    llm::ModelInfo,
    memories::{self, extraction},
    search::vectors,
    sessions::summary,
    tools,
};

/// How long what has to be written is tried, behind everybody's back.
const WRITE_DOWN_PATIENCE: Duration = Duration::from_hours(1);

/// How a run ended, ready to be stored as often as it takes.
#[derive(Default)]
pub(super) struct End {
    /// The answer, or the part of it that there is.
    pub(super) content: Option<String>,
    pub(super) error: Option<RunError>,
    /// What operators need to know of the error, and callers are not told.
    pub(super) error_detail: Option<String>,
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<ToolExecution>,
    pub(super) model: ModelInfo,
    pub(super) metrics: RunMetrics,
    pub(super) context: ContextRecord,
    /// Changes of the session's state. A run without a whole answer makes none.
    pub(super) patches: Vec<Map<String, Value>>,
    pub(super) follow_up: FollowUp,
    /// The run whose place this one takes in the history.
    pub(super) replaces: Option<RunId>,
    /// What is to be done now that the run has ended.
    pub(super) jobs: Vec<Job>,
    /// What becomes of the user's memories. Nothing, unless there is a whole answer.
    pub(super) memories: Option<memories::AfterRun>,
    /// The events that are not stored yet.
    pub(super) events: EventBatch,
}

impl End {
    pub(super) fn of(execution: Execution, context: ContextRecord, patches: Vec<Map<String, Value>>) -> Self {
        let Execution { content, error, error_detail, messages, tools, model, metrics } = execution;
        let patches = if error.is_none() { patches } else { Vec::new() };
        Self { content, error, error_detail, messages, tools, model, metrics, context, patches, ..Self::default() }
    }

    pub(super) fn failed(error: RunError, model: ModelInfo) -> Self {
        Self { error: Some(error), model, ..Self::default() }
    }

    fn is_one_statement(&self, app: &App) -> bool {
        app.embedder.is_none()
            && self.patches.is_empty()
            && self.jobs.is_empty()
            && self.replaces.is_none()
            && !self.memories.as_ref().is_some_and(memories::AfterRun::has_changes)
            && !self.follow_up.may_enqueue()
    }

    pub(super) fn status(&self) -> RunStatus {
        self.error.as_ref().map_or(RunStatus::Completed, |error| error.kind.status())
    }

    /// Whose memories are to be drawn from it later.
    fn learner(&self) -> Option<&UserId> {
        self.memories.as_ref().filter(|memories| memories.is_learned_from).map(memories::AfterRun::user)
    }

    fn settlement<'a>(&'a self, app: &'a App, session_state: Option<&'a Map<String, Value>>) -> Settlement<'a> {
        Settlement {
            status: self.status(),
            content: self.content.as_deref(),
            error: self.error.as_ref(),
            error_detail: self.error_detail.as_deref(),
            model: &self.model,
            metrics: &self.metrics,
            session_state,
            context: &self.context,
            tools: &self.tools,
            messages: &self.messages,
            text_config: &app.settings.search.text_config,
            follow_up: &self.follow_up,
            is_learned_from: self.learner().is_some(),
            events: &self.events,
            at: clock::now(),
        }
    }

    /// Stores the end with all that follows from it, in the caller's transaction. `None`: the run has ended already, is
    /// gone, or is not the claim's any more.
    pub(super) async fn store(
        &self,
        app: &App,
        connection: &mut PgConnection,
        claim: &Claim,
    ) -> Result<Option<AfterRun>, sqlx::Error> {
        let mut changed_state = None;
        if !self.patches.is_empty() {
            let Some(mut state) = store::lock_session_state(connection, claim).await? else { return Ok(None) };
            tools::apply_fitting_patches(&app.settings, &mut state, &self.patches);
            changed_state = Some(state);
        }
        let settlement = self.settlement(app, changed_state.as_ref());
        let Some(after) = store::settle(connection, claim, &settlement).await? else { return Ok(None) };
        if let Some(memories) = &self.memories {
            memories.store(app, connection, &claim.session_id, claim.seq).await?;
        }
        if let Some(replaced) = self.replaces
            && let Some(seq) = store::leave_history(connection, claim, replaced).await?
        {
            summary::forget(app, connection, &claim.session_id, &[seq]).await?;
        }
        vectors::note(app, connection, &claim.session_id).await?;
        for job in &self.jobs {
            if let Job::DeliverWebhook { url: Some(url), .. } = job {
                store::keep_webhook_url(connection, claim, url).await?;
            }
            jobs::enqueue(app, connection, job).await?;
        }
        for job in &self.follow_up.jobs(claim, after.folds) {
            jobs::enqueue_unless_there(app, connection, job).await?;
        }
        Ok(Some(after))
    }
}

/// One try at settling; the next run of the session is told. Safe to repeat: a run that has ended stays as it is.
pub(super) async fn settle_once(app: &Arc<App>, claim: &Claim, end: &End) -> Result<Option<AfterRun>, sqlx::Error> {
    let after = if end.is_one_statement(app) {
        // The statement is a transaction of its own.
        let mut connection = app.db.acquire().await?;
        end.store(app, &mut connection, claim).await?
    } else {
        let mut tx = database::begin(&app.db).await?;
        let after = end.store(app, &mut tx, claim).await?;
        tx.commit().await?;
        after
    };
    if let Some(after) = &after {
        turns::hand_over(app, &claim.session_id, after.next_seq).await;
        vectors::wake(app).await;
        if let Some(user) = end.learner() {
            extraction::wake(app, user);
        }
    }
    Ok(after)
}

/// Writes as soon as the database can hear it, and at the latest when this process stops.
pub(super) async fn insist<T, W>(app: &App, write: impl Fn() -> W) -> Result<T, sqlx::Error>
where
    W: Future<Output = Result<T, sqlx::Error>>,
{
    let backoff = ExponentialBuilder::default()
        .with_max_delay(Duration::from_secs(5))
        .with_total_delay(Some(WRITE_DOWN_PATIENCE))
        .without_max_times();
    let writing = (&write).retry(backoff).when(database::is_unavailable);
    tokio::select! {
        written = writing => written,
        () = app.tasks.stop_token().cancelled() => write().await,
    }
}
