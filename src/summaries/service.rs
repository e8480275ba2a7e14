//! The rules of folding.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    answer,
    model::{SummarizeStatus, Summarized, SummaryList, SummaryVersion},
    plan::Plan,
    store::{self, Boundary, NewVersion},
};
use crate::{
    agents::Agent,
    app::App,
    database,
    jobs::{self, Job, Later},
    llm,
    model::{Error, ErrorKind, Scope, SessionId, SessionSummary, TenantId, error::is_unavailable},
    usage::ask::{Answered, AskError},
};

/// Attempts of a fold, when the conversation changes meanwhile.
const TRIES: usize = 3;
/// Delay before a job is retried that failed because of the database or a busy conversation.
const PAUSE: Duration = Duration::from_secs(10);
/// Maximum number of folds per request.
const MOST_FOLDS: usize = 20;

/// Which runs to fold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    /// If the verbatim part exceeds a high limit: as many as bring it down to the low one.
    Due,
    /// All runs up to this one.
    Until(i64),
}

/// The outcome of one fold.
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

fn its_own_work(tenant: &TenantId) -> Scope {
    Scope::System(tenant.clone(), "a fold is the server's own work")
}

/// The job: folds a session once if it is due. If more is due, the fold has enqueued the next job.
pub async fn fold_session(app: &App, tenant: &TenantId, session_id: &SessionId, agent_id: &str) -> anyhow::Result<()> {
    // An agent that was removed from the settings folds nothing any more.
    let Ok(agent) = app.agents.get(agent_id) else {
        return Ok(store::clear_queued(&app.db, tenant, session_id).await?);
    };
    match fold(app, &its_own_work(tenant), session_id, &agent, Extent::Due).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_passing() => Err(Later { after: PAUSE, reason: error.to_string() }.into()),
        Err(FoldError::Ask(error)) => Err(error.into_job_error()),
        Err(error) => Err(error.into()),
    }
}

/// Folds the session if it is due, while a caller waits, and returns its summary. The job retries a failure. One that
/// may be due to this conversation counts as an attempt of the job: one that has failed for good is not restarted by
/// every run that waits.
pub async fn fold_if_due(
    app: &App,
    tenant: &TenantId,
    session_id: &SessionId,
    agent: &Agent,
) -> Option<SessionSummary> {
    let (job, scope) = (job(tenant, session_id, agent), its_own_work(tenant));
    if !jobs::has_failed(app, &job).await.unwrap_or(false)
        && let Err(error) = fold(app, &scope, session_id, agent, Extent::Due).await
    {
        tracing::warn!(session.id = %session_id, %error, "A session could not be summarized at once; its job will try again.");
        if let FoldError::Ask(AskError::Unusable(_) | AskError::Model { retry_in: None, .. }) = error
            && let Err(error) = jobs::count_attempt(app, &job, &error.to_string()).await
        {
            tracing::warn!(session.id = %session_id, %error, "An attempt to summarize could not be counted.");
        }
    }
    let boundary = store::boundary(&app.db, &scope, session_id).await.ok().flatten()?;
    boundary.into_summary()
}

fn job(tenant: &TenantId, session_id: &SessionId, agent: &Agent) -> Job {
    Job::FoldSession { tenant_id: tenant.clone(), session_id: session_id.clone(), agent_id: agent.settings.id.clone() }
}

/// Summarizes all but the newest `keep_runs` runs now.
pub async fn summarize(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    agent: &Agent,
    keep_runs: u32,
) -> Result<Summarized, Error> {
    let not_found = || Error::not_found(format!("Session with id '{session_id}' not found"));
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
) -> Result<SummaryList, Error> {
    store::boundary(&app.db, scope, session_id)
        .await?
        .ok_or_else(|| Error::not_found(format!("Session with id '{session_id}' not found")))?;
    // One row more than requested tells whether there is another page.
    let mut data = store::versions(&app.db, scope, session_id, before, limit + 1).await?;
    let has_more = data.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if has_more {
        data.pop();
    }
    let next_before = data.last().filter(|_| has_more).map(|version| version.through_seq);
    Ok(SummaryList { data, next_before })
}

/// Forgets what was said in these runs: deletes every version that covers one of them, moves the boundary back to the
/// newest version that covers none, and enqueues a fold in case one is due.
///
/// To be called in the transaction that deletes or replaces the runs, before or after that, with the session's row
/// locked.
pub async fn forget(
    app: &App,
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<(), sqlx::Error> {
    let stepped_back = store::delete_covering(connection, tenant, session_id, seqs).await?;
    let component = store::recount(connection, tenant, session_id, seqs).await?;
    fold_again(app, connection, tenant, session_id, component.filter(|_| stepped_back)).await
}

/// Like [`forget`], for a run that stays but has lost some of its messages.
pub async fn forget_part(
    app: &App,
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    seq: i64,
) -> Result<(), sqlx::Error> {
    let stepped_back = store::delete_covering(connection, tenant, session_id, &[seq]).await?;
    let component = store::recount(connection, tenant, session_id, &[]).await?;
    fold_again(app, connection, tenant, session_id, component.filter(|_| stepped_back)).await
}

async fn fold_again(
    app: &App,
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    component: Option<String>,
) -> Result<(), sqlx::Error> {
    let Some(agent_id) = component else { return Ok(()) };
    let job = Job::FoldSession { tenant_id: tenant.clone(), session_id: session_id.clone(), agent_id };
    jobs::enqueue(app, connection, &job).await
}

/// Sets the boundary and the unfolded counts of an imported session.
pub async fn recount(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
) -> Result<(), sqlx::Error> {
    store::recount(connection, tenant, session_id, &[]).await.map(drop)
}

/// Folds once. `None` if there is nothing to fold.
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
                    store::clear_queued(&app.db, scope.tenant_id(), session_id).await?;
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
    // No lock and no connection is held during the model call.
    let is_asked_for = matches!(extent, Extent::Until(_));
    let written = plan.write(app, scope.tenant_id(), session_id, agent, &boundary, is_asked_for).await?;
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
        store::insert(&mut tx, scope.tenant_id(), session_id, &new).await?
    } else {
        None
    };
    if let Some(is_due) = is_due {
        // A failed job of this key is obsolete: what it was to fold is folded now.
        let job = job(scope.tenant_id(), session_id, agent);
        jobs::forget(app, &mut tx, &job).await?;
        if is_due {
            jobs::enqueue(app, &mut tx, &job).await?;
        }
    }
    tx.commit().await?;
    Ok(if is_due.is_some() { Fold::Done(Box::new(version)) } else { Fold::Overtaken })
}

impl Boundary {
    /// The summary as the wire has it; `None` if there is none.
    fn into_summary(self) -> Option<SessionSummary> {
        Some(SessionSummary { summary: self.summary?, topics: self.topics, updated_at: self.created_at? })
    }
}

impl FoldError {
    /// Whether the failure is temporary, and due to neither the model nor the conversation.
    fn is_passing(&self) -> bool {
        match self {
            Self::Restless => true,
            Self::Database(error) | Self::Ask(AskError::Database(error)) => is_unavailable(error),
            Self::Ask(_) => false,
        }
    }
}

impl From<FoldError> for Error {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Database(error) | FoldError::Ask(AskError::Database(error)) => error.into(),
            FoldError::Restless => Self::unavailable(format!("{error}; try again")),
            FoldError::Ask(AskError::Resting(resting)) => Self::unavailable(format!("{resting}. Try again later")),
            FoldError::Ask(AskError::Unusable(_)) => Self::new(
                ErrorKind::ModelFailed,
                format!("{error}. Try again, or give the agent another session_summary.model"),
            )
            .coded("model_provider_error"),
            FoldError::Ask(AskError::Model { error, .. }) => match error.kind {
                llm::ErrorKind::TimedOut => Self::new(ErrorKind::ModelTimedOut, error.message).coded("model_timeout"),
                _ => Self::new(ErrorKind::ModelFailed, error.message).coded("model_provider_error"),
            },
        }
    }
}
