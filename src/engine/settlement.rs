//! The outcome of a run, and how it is stored.

use std::{sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::{follow_up::FollowUp, model_loop::Execution};
use crate::{
    app::App,
    clock,
    config::Settings,
    database,
    events::EventBatch,
    jobs::{self, Job},
    memories::{self, extraction},
    model::{
        Claim, ContextRecord, Message, ModelInfo, RunError, RunId, RunMetrics, RunStatus, ToolExecution, UserId,
        WebhookUrl, error::is_unavailable, state,
    },
    processes::line,
    runs::store::{self, Settled, Settlement},
    search::vectors,
    summaries,
};

/// How long [`insist`] retries a write in the background.
const WRITE_DOWN_PATIENCE: Duration = Duration::from_hours(1);

/// The outcome of a run. Storing it can be retried.
#[derive(Default)]
pub(crate) struct End {
    /// The answer, or a partial answer.
    pub(crate) content: Option<String>,
    pub(crate) error: Option<RunError>,
    /// Details of the error for operators, not shown to callers.
    pub(crate) error_detail: Option<String>,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<ToolExecution>,
    pub(crate) model: ModelInfo,
    pub(crate) metrics: RunMetrics,
    pub(crate) context: ContextRecord,
    /// Merge patches for the session's state. Empty unless the run completed.
    pub(crate) patches: Vec<Map<String, Value>>,
    pub(crate) follow_up: FollowUp,
    /// The run that this one replaces in the history.
    pub(crate) replaces: Option<RunId>,
    /// Where the end of the run is to be told.
    pub(crate) webhook_url: Option<WebhookUrl>,
    /// Changes to the user's memories, and whether to learn from the run. `None` unless the run completed.
    pub(crate) memories: Option<memories::AfterRun>,
    /// The events that are not stored yet.
    pub(crate) events: EventBatch,
}

impl End {
    pub(crate) fn of(execution: Execution, context: ContextRecord, patches: Vec<Map<String, Value>>) -> Self {
        let Execution { content, error, error_detail, messages, tools, model, metrics } = execution;
        let patches = if error.is_none() { patches } else { Vec::new() };
        Self { content, error, error_detail, messages, tools, model, metrics, context, patches, ..Self::default() }
    }

    pub(crate) fn failed(error: RunError, model: ModelInfo) -> Self {
        Self { error: Some(error), model, ..Self::default() }
    }

    /// Whether [`store`](Self::store) would do no more than the statement that settles.
    fn is_one_statement(&self, app: &App) -> bool {
        app.embedder.is_none()
            && self.patches.is_empty()
            && self.webhook_url.is_none()
            && self.replaces.is_none()
            && !self.memories.as_ref().is_some_and(memories::AfterRun::has_changes)
            && !self.follow_up.may_enqueue()
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.error.as_ref().map_or(RunStatus::Completed, |error| error.kind.status())
    }

    /// The user whose memories are to be extracted from this run later.
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
            webhook_url: self.webhook_url.as_ref(),
            text_config: &app.settings.search.text_config,
            tokens: self.follow_up.tokens,
            fold_above: self.follow_up.fold_above,
            is_learned_from: self.learner().is_some(),
            events: &self.events,
            at: clock::now(),
        }
    }

    /// Stores the outcome and all its side effects in the caller's transaction. `None` if the run has already ended, is
    /// gone, or no longer belongs to the claim.
    pub(crate) async fn store(
        &self,
        app: &App,
        connection: &mut PgConnection,
        claim: &Claim,
    ) -> Result<Option<Settled>, sqlx::Error> {
        let mut changed_state = None;
        if !self.patches.is_empty() {
            let Some(mut state) = store::lock_session_state(connection, claim).await? else { return Ok(None) };
            apply_fitting_patches(&app.settings, &mut state, &self.patches);
            changed_state = Some(state);
        }
        let settlement = self.settlement(app, changed_state.as_ref());
        let Some(after) = store::settle(connection, claim, &settlement).await? else { return Ok(None) };
        if let Some(memories) = &self.memories {
            memories.store(app, connection, &claim.tenant_id, &claim.session_id, claim.seq).await?;
        }
        if let Some(replaced) = self.replaces
            && let Some(seq) = store::leave_history(connection, claim, replaced).await?
        {
            summaries::forget(app, connection, &claim.tenant_id, &claim.session_id, &[seq]).await?;
        }
        vectors::note(app, connection, &claim.tenant_id, &claim.session_id).await?;
        if self.webhook_url.is_some() {
            let job = Job::DeliverWebhook { tenant_id: claim.tenant_id.clone(), run_id: claim.run_id };
            jobs::enqueue(app, connection, &job).await?;
        }
        for job in &self.follow_up.jobs(claim, after.folds) {
            jobs::enqueue_unless_there(app, connection, job).await?;
        }
        Ok(Some(after))
    }
}

/// One attempt to settle the run; notifies the session's next run. Idempotent: a run that has ended stays as it is.
pub(crate) async fn settle_once(app: &Arc<App>, claim: &Claim, end: &End) -> Result<Option<Settled>, sqlx::Error> {
    let after = if end.is_one_statement(app) {
        // The statement is a transaction of its own.
        let mut lane = app.lanes.acquire().await?;
        let after = store::settle(&mut lane, claim, &end.settlement(app, None)).await?;
        lane.keep();
        after
    } else {
        Box::pin(settle_with_more(app, claim, end)).await?
    };
    if let Some(after) = &after {
        if let Some(seq) = after.next_seq {
            Box::pin(line::hand_over(app, &claim.tenant_id, &claim.session_id, seq)).await;
        }
        vectors::wake(app).await;
        if let Some(user) = end.learner() {
            extraction::wake(app, &claim.tenant_id, user);
        }
    }
    Ok(after)
}

async fn settle_with_more(app: &App, claim: &Claim, end: &End) -> Result<Option<Settled>, sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    let after = end.store(app, &mut tx, claim).await?;
    tx.commit().await?;
    Ok(after)
}

/// Applies patches to a state that others may have changed since the patches were made. A patch that would now make the
/// state too large is skipped.
fn apply_fitting_patches(settings: &Settings, state: &mut Map<String, Value>, patches: &[Map<String, Value>]) {
    for patch in patches {
        if let Err(error) = state::try_patch(settings.sessions.max_state_bytes, state, patch) {
            tracing::warn!(reason = error.detail(), "A run's change of its session's state does not fit any more.");
        }
    }
}

/// Retries a write while the database is unavailable. When this process stops, it tries a last time.
pub(crate) async fn insist<T, W>(app: &App, write: impl Fn() -> W) -> Result<T, sqlx::Error>
where
    W: Future<Output = Result<T, sqlx::Error>>,
{
    let backoff = ExponentialBuilder::default()
        .with_max_delay(Duration::from_secs(5))
        .with_total_delay(Some(WRITE_DOWN_PATIENCE))
        .without_max_times();
    let writing = (&write).retry(backoff).when(is_unavailable);
    tokio::select! {
        written = writing => written,
        () = app.tasks.stop_token().cancelled() => write().await,
    }
}
