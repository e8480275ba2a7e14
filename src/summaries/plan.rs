//! Chooses the runs for the next version of a summary, and has it written.

use super::{
    answer,
    model::SummaryVersion,
    prompt::{self, Limits},
    service::Extent,
    store::{self, Boundary, Candidate},
};
use crate::{
    agents::Agent,
    app::App,
    clock,
    config::HistorySettings,
    model::{Scope, SessionId, TenantId},
    prompt::{PastRun, tokens_of, tokens_of_messages, whole_or_reduced},
    runs,
    usage::{
        Purpose,
        ask::{self, Answered, AskError, Question},
    },
};

/// Maximum number of runs that one fold considers.
const MOST_RUNS: i64 = 500;
/// Assumed size of a run that was stored without a token count.
const ASSUMED_TOKENS: i64 = 200;

/// The runs that go into the next version.
pub(super) struct Plan {
    pub(super) seqs: Vec<i64>,
    runs: Vec<PastRun>,
    /// Size of the runs in a prompt, before any is shortened.
    tokens: usize,
    /// The part of it that is included in the session's `unfolded_tokens`.
    pub(super) counted_tokens: i64,
    limits: Limits,
}

impl Plan {
    /// `None` if there is nothing to fold.
    pub(super) async fn make(
        app: &App,
        scope: &Scope,
        session_id: &SessionId,
        agent: &Agent,
        boundary: &Boundary,
        extent: Extent,
    ) -> Result<Option<Self>, sqlx::Error> {
        let (until, surplus) = match extent {
            Extent::Due => (None, Surplus::over(&agent.history, boundary)),
            Extent::Until(until) => (Some(until), Surplus::ALL),
        };
        if surplus == Surplus::NONE {
            return Ok(None);
        }
        let after = boundary.summary_through;
        let candidates = store::candidates(&app.db, scope, session_id, after, until, MOST_RUNS).await?;
        let most = i64::from(agent.history.high_tokens);
        let seqs = choose(&candidates, surplus, most);
        if seqs.is_empty() {
            return Ok(None);
        }
        let counted = candidates.iter().take(seqs.len()).filter_map(|run| run.tokens);
        let counted_tokens = counted.map(i64::from).sum();
        let mut messages = runs::store::messages_of(&app.db, scope, session_id, &seqs).await?;
        let largest = agent.history.high_tokens as usize;
        let (mut tokens, mut shown) = (0, Vec::with_capacity(seqs.len()));
        for seq in &seqs {
            let messages = messages.remove(seq).unwrap_or_default();
            let run = PastRun { seq: *seq, tokens: tokens_of_messages(&messages), messages };
            tokens += run.tokens;
            shown.push(whole_or_reduced(run, largest));
        }
        let replaced = tokens + boundary.summary.as_deref().map_or(0, tokens_of);
        let limits = Limits::new(&agent.settings.session_summary, replaced);
        Ok(Some(Self { seqs, runs: shown, tokens, counted_tokens, limits }))
    }

    pub(super) async fn write(
        &self,
        app: &App,
        tenant_id: &TenantId,
        session_id: &SessionId,
        agent: &Agent,
        boundary: &Boundary,
        is_asked_for: bool,
    ) -> Result<Answered<answer::Draft>, AskError> {
        let request = prompt::request(&agent.settings.session_summary, boundary, &self.runs);
        let read = |answer: &str, last| answer::read(answer, self.limits, &boundary.about_user, last);
        let model = agent.summary_model();
        let question = Question { tenant_id, session_id, purpose: Purpose::Summary, model, is_asked_for, request };
        ask::ask(app, question, read, prompt::complaint).await
    }

    pub(super) fn version(&self, written: &Answered<answer::Draft>) -> SummaryVersion {
        let draft = &written.value;
        SummaryVersion {
            through_seq: self.seqs.last().copied().unwrap_or_default(),
            summary: draft.summary.clone(),
            about_user: draft.about_user.clone(),
            topics: draft.topics.clone(),
            tokens: i32::try_from(draft.tokens).unwrap_or(i32::MAX),
            folded_runs: i32::try_from(self.seqs.len()).unwrap_or(i32::MAX),
            folded_tokens: i64::try_from(self.tokens).unwrap_or(i64::MAX),
            model: written.model.clone().into(),
            created_at: clock::now(),
        }
    }
}

/// How much has to leave the verbatim part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Surplus {
    tokens: i64,
    runs: i64,
}

impl Surplus {
    const NONE: Self = Self { tokens: 0, runs: 0 };
    const ALL: Self = Self { tokens: i64::MAX, runs: i64::MAX };

    fn over(limits: &HistorySettings, boundary: &Boundary) -> Self {
        let beyond =
            |unfolded: i64, high: u32, low: u32| if unfolded > i64::from(high) { unfolded - i64::from(low) } else { 0 };
        Self {
            tokens: beyond(boundary.unfolded_tokens, limits.high_tokens, limits.low_tokens),
            runs: beyond(boundary.unfolded_runs, limits.max_runs, limits.low_runs()),
        }
    }
}

/// The oldest runs: as few as remove the surplus, and at most `most` tokens, but at least one run.
fn choose(candidates: &[Candidate], surplus: Surplus, most: i64) -> Vec<i64> {
    let (mut seqs, mut total) = (Vec::new(), 0);
    for (run, taken) in candidates.iter().zip(0..) {
        let tokens = run.tokens.map_or(ASSUMED_TOKENS, i64::from);
        let is_enough = total >= surplus.tokens && taken >= surplus.runs;
        if is_enough || (!seqs.is_empty() && total + tokens > most) {
            break;
        }
        total += tokens;
        seqs.push(run.seq);
    }
    seqs
}
