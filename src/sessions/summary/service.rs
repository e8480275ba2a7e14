//! The rules of folding.

use std::time::Duration;

use axum::http::StatusCode;
use sqlx::PgConnection;

use super::{
    answer,
    model::{SessionSummary, SummarizeStatus, Summarized, SummaryList, SummaryVersion},
    prompt::{self, Limits},
    store::{self, Boundary, Candidate, NewVersion},
};
use crate::{
    agents::Agent,
    app::App,
    auth::Scope,
    clock,
    config::HistorySettings,
    database,
    http::Problem,
    jobs::{self, Job, Later},
    llm::ErrorKind,
    runs::{
        self,
        context::{PastRun, tokens_of_messages, whole_or_reduced},
    },
    sessions::{
        self, SessionId,
        ask::{self, Answered, AskError, Question},
        costs::Purpose,
    },
};

/// How many runs one fold looks at.
const MOST_RUNS: i64 = 500;
/// How often a fold is done anew when the conversation has changed under it.
const TRIES: usize = 3;
/// What a run is taken to be that was not counted when it was stored.
const ASSUMED_TOKENS: i64 = 200;
/// When a job tries again that the database or a busy conversation was in the way of.
const PAUSE: Duration = Duration::from_secs(10);
/// How many folds one request makes.
const MOST_FOLDS: usize = 20;

/// How much of a session is folded.
#[derive(Clone, Copy, Debug)]
enum Extent {
    /// When the verbatim part is over a limit, so much that it is at the low one.
    Due,
    /// All runs up to this one.
    Until(i64),
}

/// What has come of one fold.
#[derive(Debug)]
enum Fold {
    Done(Box<SummaryVersion>),
    /// There is nothing to fold.
    Needless,
    /// The boundary or the runs have changed meanwhile.
    Overtaken,
}

#[derive(Debug, thiserror::Error)]
enum FoldError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("The conversation changed each time while it was summarized")]
    Restless,
}

/// The job: folds a session once if it is due. Where that is not enough, the fold has queued the next.
pub async fn fold_session(app: &App, session_id: &SessionId, agent_id: &str) -> anyhow::Result<()> {
    // An agent that is gone from the settings asks for nothing any more.
    let Ok(agent) = app.agents.get(agent_id) else { return Ok(store::clear_queued(&app.db, session_id).await?) };
    match fold(app, &Scope::All, session_id, &agent, Extent::Due).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_passing() => Err(Later { after: PAUSE, reason: error.to_string() }.into()),
        Err(FoldError::Ask(error)) => Err(error.into_job_error()),
        Err(error) => Err(error.into()),
    }
}

/// Folds the session if it is due, for somebody who waits, and answers its summary. A failure is left to the job, and
/// counts for it: a job that has failed for good is not begun anew by every run that waits.
pub async fn fold_if_due(app: &App, session_id: &SessionId, agent: &Agent) -> Option<SessionSummary> {
    let job = job(session_id, agent);
    if !jobs::has_failed(app, &job).await.unwrap_or(false)
        && let Err(error) = fold(app, &Scope::All, session_id, agent, Extent::Due).await
    {
        tracing::warn!(session.id = %session_id, %error, "A session could not be summarized at once; its job will try again.");
        if let FoldError::Ask(AskError::Unusable(_) | AskError::Model { retry_in: None, .. }) = error
            && let Err(error) = jobs::count_attempt(app, &job, &error.to_string()).await
        {
            tracing::warn!(session.id = %session_id, %error, "An attempt to summarize could not be counted.");
        }
    }
    let boundary = store::boundary(&app.db, &Scope::All, session_id).await.ok().flatten()?;
    boundary.into_summary()
}

fn job(session_id: &SessionId, agent: &Agent) -> Job {
    Job::FoldSession { session_id: session_id.clone(), agent_id: agent.settings.id.clone() }
}

/// Summarizes all but the newest `keep_runs` runs now.
pub async fn summarize(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    agent: &Agent,
    keep_runs: u32,
) -> Result<Summarized, Problem> {
    let not_found = || Problem::not_found(format!("Session with id '{session_id}' not found"));
    let until = store::run_before_newest(&app.db, scope, session_id, i64::from(keep_runs)).await?;
    let (mut folded_runs, mut status) = (0, SummarizeStatus::NothingToFold);
    if let Some(until) = until {
        for _ in 0..MOST_FOLDS {
            match fold(app, scope, session_id, agent, Extent::Until(until)).await? {
                Some(version) => {
                    folded_runs += i64::from(version.folded_runs);
                    status = SummarizeStatus::SummarizedInPart;
                    if version.through_seq == until {
                        break;
                    }
                }
                None => break,
            }
        }
    }
    let boundary = store::boundary(&app.db, scope, session_id).await?.ok_or_else(not_found)?;
    if folded_runs > 0 && until.is_some_and(|until| boundary.summary_through >= until) {
        status = SummarizeStatus::Summarized;
    }
    let through_seq = boundary.summary_through;
    Ok(Summarized { status, session_summary: boundary.into_summary(), through_seq, folded_runs })
}

/// The versions of a session's summary, the newest first.
pub async fn versions(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    before: Option<i64>,
    limit: i64,
) -> Result<SummaryList, Problem> {
    sessions::service::find(app, scope, session_id, None).await?;
    // One more than asked for tells whether there is another page.
    let mut data = store::versions(&app.db, scope, session_id, before, limit + 1).await?;
    let has_more = data.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if has_more {
        data.pop();
    }
    let next_before = data.last().filter(|_| has_more).map(|version| version.through_seq);
    Ok(SummaryList { data, next_before })
}

/// What was said in these runs is to be forgotten: every version that covers one of them goes, the boundary steps back
/// to the newest that covers none, and what is left is folded again where that is due.
///
/// For the transaction that deletes or replaces the runs; it has locked the session's row. Safe before and after.
pub async fn forget(
    app: &App,
    connection: &mut PgConnection,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<(), sqlx::Error> {
    let stepped_back = store::delete_covering(connection, session_id, seqs).await?;
    let component = store::recount(connection, session_id, seqs).await?;
    fold_again(app, connection, session_id, component.filter(|_| stepped_back)).await
}

/// The same for a run that has lost a part of what was said in it, and stays.
pub async fn forget_part(
    app: &App,
    connection: &mut PgConnection,
    session_id: &SessionId,
    seq: i64,
) -> Result<(), sqlx::Error> {
    let stepped_back = store::delete_covering(connection, session_id, &[seq]).await?;
    let component = store::recount(connection, session_id, &[]).await?;
    fold_again(app, connection, session_id, component.filter(|_| stepped_back)).await
}

async fn fold_again(
    app: &App,
    connection: &mut PgConnection,
    session_id: &SessionId,
    component: Option<String>,
) -> Result<(), sqlx::Error> {
    let Some(agent_id) = component else { return Ok(()) };
    jobs::enqueue(app, connection, &Job::FoldSession { session_id: session_id.clone(), agent_id }).await
}

/// Counts what a session holds that was stored as a whole.
pub async fn recount(connection: &mut PgConnection, session_id: &SessionId) -> Result<(), sqlx::Error> {
    store::recount(connection, session_id, &[]).await.map(drop)
}

/// Folds once. `None`: there is nothing to fold.
async fn fold(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    agent: &Agent,
    extent: Extent,
) -> Result<Option<SummaryVersion>, FoldError> {
    for _ in 0..TRIES {
        match try_fold(app, scope, session_id, agent, extent).await? {
            Fold::Done(version) => return Ok(Some(*version)),
            Fold::Needless => {
                if matches!(extent, Extent::Due) {
                    store::clear_queued(&app.db, session_id).await?;
                }
                return Ok(None);
            }
            Fold::Overtaken => {}
        }
    }
    Err(FoldError::Restless)
}

async fn try_fold(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    agent: &Agent,
    extent: Extent,
) -> Result<Fold, FoldError> {
    let Some(boundary) = store::boundary(&app.db, scope, session_id).await? else { return Ok(Fold::Needless) };
    let Some(plan) = Plan::make(app, scope, session_id, agent, &boundary, extent).await? else {
        return Ok(Fold::Needless);
    };
    // Nothing is held while the model writes.
    let is_asked_for = matches!(extent, Extent::Until(_));
    let written = plan.write(app, session_id, agent, &boundary, is_asked_for).await?;
    store_fold(app, scope, session_id, agent, boundary.summary_through, &plan, written).await
}

async fn store_fold(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    agent: &Agent,
    through: i64,
    plan: &Plan,
    written: Answered<answer::Draft>,
) -> Result<Fold, FoldError> {
    let version = plan.version(&written);
    let new = NewVersion {
        version: &version,
        folded: &plan.seqs,
        counted_tokens: plan.counted_tokens,
        limits: agent.history,
    };
    let mut tx = database::begin(&app.db).await?;
    let is_due = if store::lock_boundary(&mut tx, scope, session_id, through).await? {
        store::insert(&mut tx, session_id, &new).await?
    } else {
        None
    };
    if let Some(is_due) = is_due {
        // One that has failed was about what is folded now.
        let job = job(session_id, agent);
        jobs::forget(app, &mut tx, &job).await?;
        if is_due {
            jobs::enqueue(app, &mut tx, &job).await?;
        }
    }
    tx.commit().await?;
    Ok(if is_due.is_some() { Fold::Done(Box::new(version)) } else { Fold::Overtaken })
}

/// The runs that go into the next version.
struct Plan {
    seqs: Vec<i64>,
    runs: Vec<PastRun>,
    /// What the runs take in a prompt, whole.
    tokens: usize,
    /// The part of that which the session's row has counted.
    counted_tokens: i64,
    limits: Limits,
}

impl Plan {
    /// `None`: there is nothing to fold.
    async fn make(
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
        let replaced = tokens + boundary.summary.as_deref().map_or(0, runs::context::tokens_of);
        let limits = Limits::new(&agent.settings.session_summary, replaced);
        Ok(Some(Self { seqs, runs: shown, tokens, counted_tokens, limits }))
    }

    async fn write(
        &self,
        app: &App,
        session_id: &SessionId,
        agent: &Agent,
        boundary: &Boundary,
        is_asked_for: bool,
    ) -> Result<Answered<answer::Draft>, AskError> {
        let request = prompt::request(&agent.settings.session_summary, boundary, &self.runs);
        let read = |answer: &str, last| answer::read(answer, self.limits, &boundary.about_user, last);
        let model = agent.summary_model();
        let question = Question { session_id, purpose: Purpose::Summary, model, is_asked_for, request };
        ask::ask(app, question, read, prompt::complaint).await
    }

    fn version(&self, written: &Answered<answer::Draft>) -> SummaryVersion {
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

/// What has to leave the verbatim part.
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

/// The oldest runs, as few as take away the surplus and no more than one call may show; at least one.
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

impl Boundary {
    /// As the wire has it.
    fn into_summary(self) -> Option<SessionSummary> {
        Some(SessionSummary { summary: self.summary?, topics: self.topics, updated_at: self.created_at? })
    }
}

impl FoldError {
    /// Whether neither the model nor the conversation is to blame.
    fn is_passing(&self) -> bool {
        match self {
            Self::Restless => true,
            Self::Database(error) | Self::Ask(AskError::Database(error)) => database::is_unavailable(error),
            Self::Ask(_) => false,
        }
    }
}

impl From<FoldError> for Problem {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Database(error) | FoldError::Ask(AskError::Database(error)) => error.into(),
            FoldError::Restless => Self::unavailable(format!("{error}; try again")),
            FoldError::Ask(AskError::Resting(resting)) => Self::unavailable(format!("{resting}. Try again later")),
            FoldError::Ask(AskError::Unusable(_)) => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{error}. Try again, or give the agent another session_summary.model"),
            )
            .of_type("model_provider_error"),
            FoldError::Ask(AskError::Model { error, .. }) => match error.kind {
                ErrorKind::TimedOut => Self::new(StatusCode::GATEWAY_TIMEOUT, error.message).of_type("model_timeout"),
                _ => Self::new(StatusCode::BAD_GATEWAY, error.message).of_type("model_provider_error"),
            },
        }
    }
}
