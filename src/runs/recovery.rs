//! What dead processes left behind: runs that somebody waited for end as interrupted, background runs go on elsewhere.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    end::End,
    model::{RunError, RunErrorKind},
    service::Queued,
    store, turns,
};
use crate::{app::App, llm::ModelInfo};

/// Ends or hands on the runs of every dead process that nobody else is looking after, and removes it from the living.
pub(super) async fn recover(app: &Arc<App>) -> anyhow::Result<()> {
    let mut tx = app.db.begin().await?;
    let mut next = Vec::new();
    let (mut ended, mut handed_on) = (0, 0);
    for dead in store::lock_dead(&mut tx).await? {
        for orphan in store::orphans(&mut tx, &dead).await? {
            if orphan.may_go_on {
                store::put_back(&mut tx, &orphan.claim, false).await?;
                handed_on += 1;
                continue;
            }
            let mut end = End::failed(reason(orphan.attempts), ModelInfo::default());
            let queued = orphan.request.and_then(|request| Queued::deserialize(request).ok());
            end.jobs.extend(queued.and_then(|queued| queued.run.webhook(orphan.claim.run_id)));
            if let Some(after) = end.store(app, &mut tx, &orphan.claim).await? {
                next.push((orphan.claim.session_id, after.next_seq));
            }
            ended += 1;
        }
        store::bury(&mut tx, &dead).await?;
        tracing::warn!(process.id = %dead.process.0, ended, handed_on, "A process has died; its runs were ended or handed on.");
    }
    tx.commit().await?;
    for (session_id, next_seq) in next {
        turns::hand_over(app, &session_id, next_seq).await;
    }
    if handed_on > 0 {
        app.runs.work.notify_one();
    }
    Ok(())
}

fn reason(attempts: i16) -> RunError {
    if attempts <= 1 {
        return RunError::interrupted();
    }
    let message =
        format!("The server was stopped during each of {attempts} attempts at this run. Send the message again.");
    RunError { kind: RunErrorKind::Interrupted, message }
}
