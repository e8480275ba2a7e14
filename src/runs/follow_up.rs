//! What a run leaves to be done in the background, decided by what is known when it ends and enqueued in the transaction
//! that settles it.

use super::{
    context::{Context, ContextOptions, tokens_of_messages},
    events::{EventKind, EventLog},
    model::{Message, RunStatus},
    request::CreateRun,
    store::{self, Claim},
};
use crate::{agents::Agent, app::App, clock, config::HistorySettings, jobs::Job, sessions::summary};

/// Does what a caller waits for, and reports it. Its job finds it done; where it fails, the job tries again.
pub(super) async fn do_now(app: &App, agent: &Agent, run: &CreateRun, claim: &Claim, events: &EventLog) {
    if !ContextOptions::new(agent, run).keep_summary {
        return;
    }
    events.push(&EventKind::SessionSummaryStarted);
    let summary = tokio::select! {
        summary = summary::service::fold_if_due(app, &claim.session_id, agent) => summary,
        () = app.tasks.stop_token().cancelled() => None,
    };
    events.push(&EventKind::SessionSummaryCompleted(summary.map(Box::new)));
    if events.is_recording() {
        let batch = events.unstored();
        match store::append_events(&app.db, claim, &batch, clock::now()).await {
            Ok(()) => events.note_stored(&batch),
            Err(error) => tracing::warn!(run.id = %claim.run_id, %error, "The last events of a run are not stored."),
        }
    }
}

/// A run that leaves nothing costs nothing: its settling stays one statement.
#[derive(Clone, Debug, Default)]
pub struct FollowUp {
    /// What the run takes in later prompts. `None`: it will be in none.
    pub tokens: Option<i32>,
    /// The session is to be folded when its verbatim part exceeds these limits. `None`: it does not by far, or is never
    /// folded.
    pub fold_above: Option<HistorySettings>,
    agent_id: String,
    wants_title: bool,
}

impl FollowUp {
    /// `said` is what was said after the user's message.
    pub fn of(
        agent: &Agent,
        options: ContextOptions,
        context: &Context,
        claim: &Claim,
        input: &Message,
        said: &[Message],
        status: RunStatus,
    ) -> Self {
        let wants_title = agent.settings.auto_title && claim.seq == 1;
        let agent_id = agent.settings.id.clone();
        if status != RunStatus::Completed {
            return Self { agent_id, wants_title, ..Self::default() };
        }
        let tokens = tokens_of_messages(said.iter().chain([input]));
        let tokens = i32::try_from(tokens).unwrap_or(i32::MAX);
        let unfolded = (context.unfolded_tokens + i64::from(tokens), context.unfolded_runs + 1);
        let is_close = options.keep_summary && options.limits.is_exceeded_by(unfolded.0, unfolded.1);
        Self { tokens: Some(tokens), fold_above: is_close.then_some(options.limits), agent_id, wants_title }
    }

    /// Whether settling needs a transaction for the jobs.
    pub fn may_enqueue(&self) -> bool {
        self.fold_above.is_some() || self.wants_title
    }

    /// `folds`: the session's row says that this run is the one that queues a fold.
    pub fn jobs(&self, claim: &Claim, folds: bool) -> Vec<Job> {
        let (session_id, agent_id) = (claim.session_id.clone(), self.agent_id.clone());
        let fold = folds.then(|| Job::FoldSession { session_id: session_id.clone(), agent_id: agent_id.clone() });
        let title =
            self.wants_title.then(|| Job::TitleSession { session_id: session_id.clone(), agent_id: agent_id.clone() });
        fold.into_iter().chain(title).collect()
    }
}
