//! Recovery of orphaned runs: foreground runs end as interrupted, background runs continue in another process.
//!
//! Recovery looks for orphaned runs, not for deaths of processes. So it finds every run that names a dead process,
//! whatever the cause. Each run is settled separately; a concurrent recovery finds it settled already.

use std::{sync::Arc, time::Duration};

use super::settlement::{End, settle_once};
use crate::{
    app::App,
    model::{Claim, ModelInfo, RunError, RunErrorKind, WebhookUrl, error::is_unavailable},
    processes::{
        Registry,
        bus::{self, Signal},
        store::{self, Orphan, PutBack},
    },
};

/// How long a declined background run waits for a process that can execute it: long enough for a rolling update.
const PATIENCE: Duration = Duration::from_mins(5);

/// Removes processes that have left and, if `late`, those whose heartbeat is overdue. Then ends or requeues every run
/// that no living process executes.
pub(crate) async fn recover(app: &Arc<App>, late: bool) {
    if let Err(error) = try_to_recover(app, late).await {
        tracing::warn!(%error, "Runs that nobody executes could not be recovered yet.");
    }
}

async fn try_to_recover(app: &Arc<App>, late: bool) -> Result<(), sqlx::Error> {
    for process in store::bury(&app.db, late).await? {
        tracing::info!(process.id = %process.0, "A process has left or died; its runs are ended or handed on.");
    }
    let (mut ended, mut handed_on) = (0, 0);
    for orphan in find(app).await? {
        if orphan.may_go_on && !orphan.is_cancelled {
            let mut connection = app.db.acquire().await?;
            let done = store::put_back(&mut connection, &orphan.claim, PutBack::Abandoned).await;
            handed_on += u32::from(hold_nobody_up(&orphan.claim, done)?);
        } else {
            let done = end(app, &orphan.claim, reason(&orphan), orphan.webhook_url).await;
            ended += u32::from(hold_nobody_up(&orphan.claim, done)?);
        }
    }
    for declined in store::declined(&app.db, Registry::of(app).process(), PATIENCE).await? {
        let error = RunError { kind: RunErrorKind::Interrupted, message: declined.because };
        let done = end(app, &declined.claim, error, declined.webhook_url).await;
        ended += u32::from(hold_nobody_up(&declined.claim, done)?);
    }
    if ended + handed_on > 0 {
        tracing::warn!(ended, handed_on, "Runs that nobody executed were ended or handed on.");
    }
    if handed_on > 0 {
        bus::tell(app, Signal::Work).await;
    }
    Ok(())
}

/// Whether a run was ended or requeued. A failure of one run must not block the others, so it is logged and skipped,
/// unless the database is unavailable.
fn hold_nobody_up(claim: &Claim, done: Result<bool, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match done {
        Err(error) if !is_unavailable(&error) => {
            tracing::error!(run.id = %claim.run_id, %error, "A run that nobody executes cannot be recovered.");
            Ok(false)
        }
        done => done,
    }
}

/// A run that names this process is an orphan if it is not in the registry: it was accepted or taken, but the
/// database's answer was lost.
async fn find(app: &App) -> Result<Vec<Orphan>, sqlx::Error> {
    // A run that is just being taken is not in the registry yet.
    let runs = Registry::of(app);
    let taking = runs.taking.try_lock();
    let this = runs.process();
    let mut found = store::orphans(&app.db, this).await?;
    // Check the registry after the database: it has each run from before it is stored until after its end is stored.
    found.retain(|orphan| orphan.holder != this || (taking.is_ok() && runs.get(orphan.claim.run_id).is_none()));
    Ok(found)
}

async fn end(app: &Arc<App>, claim: &Claim, error: RunError, webhook_url: Option<String>) -> Result<bool, sqlx::Error> {
    let mut end = End::failed(error, ModelInfo::default());
    end.webhook_url = webhook_url.map(WebhookUrl::stored);
    Ok(settle_once(app, claim, &end).await?.is_some())
}

fn reason(orphan: &Orphan) -> RunError {
    if orphan.is_cancelled {
        return RunError::cancelled("The run was cancelled.");
    }
    if orphan.attempts <= 1 {
        return RunError::interrupted();
    }
    let message = format!(
        "The server was stopped during each of {} attempts at this run. Send the message again.",
        orphan.attempts
    );
    RunError { kind: RunErrorKind::Interrupted, message }
}
