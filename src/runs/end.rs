//! How a run ends, and how that is stored.

use chrono::Utc;
use serde_json::{Map, Value};

use super::{
    engine::Execution,
    follow_up::FollowUp,
    model::{ContextRecord, Message, RunError, RunMetrics, RunStatus},
    store::{self, Claim, Settlement},
    wire::ToolExecution,
};
use crate::{app::App, jobs, llm::ModelInfo, tools};

/// How a run ended, ready to be stored as often as it takes.
pub(super) struct End {
    pub(super) content: Option<String>,
    pub(super) error: Option<RunError>,
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<ToolExecution>,
    pub(super) model: ModelInfo,
    pub(super) metrics: RunMetrics,
    pub(super) context: ContextRecord,
    /// Changes of the session's state. A run that failed makes none.
    pub(super) patches: Vec<Map<String, Value>>,
    pub(super) follow_up: FollowUp,
}

impl End {
    pub(super) fn of(execution: Execution, context: ContextRecord, patches: Vec<Map<String, Value>>) -> Self {
        let Execution { outcome, messages, tools, model, metrics } = execution;
        let patches = if outcome.is_ok() { patches } else { Vec::new() };
        let (content, error) = match outcome {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        Self { content, error, messages, tools, model, metrics, context, patches, follow_up: FollowUp::default() }
    }

    pub(super) fn failed(error: RunError, model: ModelInfo) -> Self {
        Self {
            content: None,
            error: Some(error),
            messages: Vec::new(),
            tools: Vec::new(),
            model,
            metrics: RunMetrics::default(),
            context: ContextRecord::default(),
            patches: Vec::new(),
            follow_up: FollowUp::default(),
        }
    }

    pub(super) fn status(&self) -> RunStatus {
        if self.error.is_some() { RunStatus::Error } else { RunStatus::Completed }
    }

    fn settlement<'a>(&'a self, app: &'a App, session_state: Option<&'a Map<String, Value>>) -> Settlement<'a> {
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
            text_config: &app.settings.search.text_config,
            follow_up: &self.follow_up,
            at: Utc::now(),
        }
    }
}

pub(super) enum Settled {
    /// The session's state after the run.
    Done(Map<String, Value>),
    /// The session, or the run, was deleted meanwhile.
    Gone,
}

/// One try at settling. Safe to repeat: a run that has ended already stays as it is.
pub(super) async fn settle_once(app: &App, claim: &Claim, end: &End) -> Result<Settled, sqlx::Error> {
    if end.patches.is_empty() && !end.follow_up.may_enqueue() {
        // The statement is a transaction of its own.
        let mut connection = app.db.acquire().await?;
        if let Some(after) = store::settle(&mut connection, claim, &end.settlement(app, None)).await? {
            return Ok(Settled::Done(after.session_state));
        }
    }
    let mut tx = app.db.begin().await?;
    let Some(mut state) = store::lock_session_state(&mut tx, claim).await? else { return Ok(Settled::Gone) };
    tools::apply_patches(&mut state, &end.patches);
    let new_state = (!end.patches.is_empty()).then_some(&state);
    if let Some(after) = store::settle(&mut tx, claim, &end.settlement(app, new_state)).await? {
        for job in end.follow_up.jobs(claim, after.folds) {
            jobs::enqueue(&mut tx, &job).await?;
        }
    }
    tx.commit().await?;
    Ok(Settled::Done(state))
}
