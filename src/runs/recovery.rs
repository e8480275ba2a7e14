//! Runs that nobody executes: runs that somebody waited for end as interrupted, background runs go on elsewhere.
//!
//! They are found by looking for them, not by their process's death: whatever names a process that does not live is
//! found, however it came to that. Each is settled by itself; who comes second finds it settled.

use std::{sync::Arc, time::Duration};

use super::{
    end::{End, settle_once},
    model::{RunError, RunErrorKind},
    request,
    store::{self, Claim, Orphan, PutBack},
    turns,
    webhook::WebhookUrl,
};
use crate::{app::App, database, llm::ModelInfo};

/// How long a background run waits for a process that can execute it: as long as it takes to replace all processes.
const PATIENCE: Duration = Duration::from_mins(5);

/// Buries processes that have left and, if `late`, those whose sign of life is late; then ends or hands on every run that
/// no living process executes.
pub(super) async fn recover(app: &Arc<App>, late: bool) {
    if let Err(error) = try_to_recover(app, late).await {
        tracing::warn!(%error, "Runs that nobody executes could not be recovered yet.");
    }
}

async fn try_to_recover(app: &Arc<App>, late: bool) -> Result<(), sqlx::Error> {
    for process in store::bury(&app.db, late).await? {
        tracing::info!(process.id = %process.0, "A process has left or died; its runs are ended or handed on.");
    }
    store::forget_closed(&app.db).await?;
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
    for declined in store::declined(&app.db, app.runs.process(), PATIENCE).await? {
        let error = RunError { kind: RunErrorKind::Interrupted, message: declined.because };
        let done = end(app, &declined.claim, error, declined.webhook_url).await;
        ended += u32::from(hold_nobody_up(&declined.claim, done)?);
    }
    if ended + handed_on > 0 {
        tracing::warn!(ended, handed_on, "Runs that nobody executed were ended or handed on.");
    }
    if handed_on > 0 {
        turns::tell(app, &turns::Message::Work).await;
    }
    Ok(())
}

/// Whether a run was ended or handed on. One that cannot be must not hold up the others.
fn hold_nobody_up(claim: &Claim, done: Result<bool, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match done {
        Err(error) if !database::is_unavailable(&error) => {
            tracing::error!(run.id = %claim.run_id, %error, "A run that nobody executes cannot be recovered.");
            Ok(false)
        }
        done => done,
    }
}

/// A run that names this process is an orphan if this process does not know it: it was accepted or handed out, and the
/// answer was lost on its way.
async fn find(app: &App) -> Result<Vec<Orphan>, sqlx::Error> {
    // A run that is being taken is known in a moment.
    let taking = app.runs.taking.try_lock();
    let this = app.runs.process();
    let mut found = store::orphans(&app.db, this).await?;
    // Asked after the database, because a run is known here before it is stored and until it has ended there.
    found.retain(|orphan| orphan.holder != this || (taking.is_ok() && app.runs.get(orphan.claim.run_id).is_none()));
    Ok(found)
}

async fn end(app: &Arc<App>, claim: &Claim, error: RunError, webhook_url: Option<String>) -> Result<bool, sqlx::Error> {
    let mut end = End::failed(error, ModelInfo::default());
    end.jobs.extend(webhook_url.map(|url| request::tell_end(claim.run_id, WebhookUrl::stored(url))));
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
