//! The background work that a run makes necessary. It is decided when the run ends, and enqueued in the transaction
//! that settles the run.

use crate::{
    agents::Agent,
    app::App,
    clock,
    config::HistorySettings,
    events::{self, EventKind, EventLog},
    jobs::Job,
    model::{Claim, Message, RunStatus},
    prompt::{Context, ContextOptions, tokens_of_messages},
    runs::spec::Overrides,
    summaries,
};

/// Folds the session if that is due, for a caller that waits for it, and sends the events of the summary. The queued
/// job then finds nothing to do; if folding fails here, the job tries again.
pub(crate) async fn do_now(app: &App, agent: &Agent, overrides: &Overrides, claim: &Claim, log: &EventLog) {
    if !ContextOptions::new(agent, overrides).keep_summary {
        return;
    }
    log.push(EventKind::SessionSummaryStarted);
    let summary = tokio::select! {
        summary = summaries::service::fold_if_due(app, &claim.tenant_id, &claim.session_id, agent) => summary,
        () = app.tasks.stop_token().cancelled() => None,
    };
    log.push(EventKind::SessionSummaryCompleted { summary: summary.map(Box::new) });
    if log.is_recording() {
        let batch = log.unstored();
        match events::store::append_after_end(&app.db, claim, &batch, clock::now()).await {
            Ok(()) => log.note_stored(&batch),
            Err(error) => tracing::warn!(run.id = %claim.run_id, %error, "The last events of a run are not stored."),
        }
    }
}

/// The follow-up work of a run. Without any, settling stays one statement.
#[derive(Clone, Debug, Default)]
pub(super) struct FollowUp {
    /// The tokens of the run in later prompts. `None` if it will be in none.
    pub tokens: Option<i32>,
    /// The session is to be folded if its verbatim part exceeds these limits. `None` if it does not, as far as this run
    /// knows, or if the session is never folded.
    pub fold_above: Option<HistorySettings>,
    agent_id: String,
    wants_title: bool,
}

impl FollowUp {
    /// `said`: the messages after the user's message.
    pub(super) fn of(
        agent: &Agent,
        options: ContextOptions,
        context: &Context,
        claim: &Claim,
        said: &[Message],
        status: RunStatus,
    ) -> Self {
        let wants_title = agent.settings.auto_title && claim.seq == 1;
        let agent_id = agent.settings.id.clone();
        if status != RunStatus::Completed {
            return Self { agent_id, wants_title, ..Self::default() };
        }
        let tokens = context.tokens_of_question + tokens_of_messages(said);
        let tokens = i32::try_from(tokens).unwrap_or(i32::MAX);
        let unfolded = (context.unfolded_tokens + i64::from(tokens), context.unfolded_runs + 1);
        let is_close = options.keep_summary && options.limits.is_exceeded_by(unfolded.0, unfolded.1);
        Self { tokens: Some(tokens), fold_above: is_close.then_some(options.limits), agent_id, wants_title }
    }

    /// Whether settling needs a transaction for the jobs.
    pub(super) fn may_enqueue(&self) -> bool {
        self.fold_above.is_some() || self.wants_title
    }

    /// `folds`: according to the session's row, this run is the one that enqueues a fold.
    pub(super) fn jobs(&self, claim: &Claim, folds: bool) -> Vec<Job> {
        let of_session = || (claim.tenant_id.clone(), claim.session_id.clone(), self.agent_id.clone());
        let fold = folds.then(of_session);
        let fold = fold.map(|(tenant_id, session_id, agent_id)| Job::FoldSession { tenant_id, session_id, agent_id });
        let title = self.wants_title.then(of_session);
        let title =
            title.map(|(tenant_id, session_id, agent_id)| Job::TitleSession { tenant_id, session_id, agent_id });
        fold.into_iter().chain(title).collect()
    }
}
