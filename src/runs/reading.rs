//! Reads runs for clients, with the errors that clients get.

use std::{collections::HashMap, time::Duration};

use super::store::{self, RunFilter};
use crate::{
    app::App,
    model::{Error, Message, Run, RunId, Scope, SessionId, TenantId},
};

fn any_run_of(tenant: &TenantId) -> Scope {
    Scope::System(tenant.clone(), "whoever has the Idempotency-Key and the request may see the run")
}

/// How often a run is polled while a caller waits for its end.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A run of an agent. Not found unless it exists, is visible to the caller and belongs to `session_id`, if given.
pub async fn find(
    app: &App,
    scope: &Scope,
    agent_id: &str,
    run_id: RunId,
    session_id: Option<&SessionId>,
) -> Result<Run, Error> {
    store::find(&app.db, scope, run_id)
        .await?
        .filter(|run| run.component_id == agent_id)
        .filter(|run| session_id.is_none_or(|wanted| *wanted == run.session_id))
        .ok_or_else(|| Error::not_found("Run not found"))
}

/// A run of any agent, with its own messages.
pub async fn get(app: &App, scope: &Scope, run_id: RunId) -> Result<Option<(Run, Vec<Message>)>, Error> {
    let Some(run) = store::find(&app.db, scope, run_id).await? else { return Ok(None) };
    let messages = messages(app, scope, &run).await?;
    Ok(Some((run, messages)))
}

pub async fn messages(app: &App, scope: &Scope, run: &Run) -> Result<Vec<Message>, Error> {
    let mut messages = store::messages_of(&app.db, scope, &run.session_id, &[run.seq]).await?;
    Ok(messages.remove(&run.seq).unwrap_or_default())
}

/// The runs of a session, oldest first, each with its own messages.
pub async fn list(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    filter: &RunFilter,
) -> Result<Vec<(Run, Vec<Message>)>, Error> {
    let runs = store::list(&app.db, scope, session_id, filter).await?;
    let seqs: Vec<i64> = runs.iter().map(|run| run.seq).collect();
    let mut messages: HashMap<i64, _> = store::messages_of(&app.db, scope, session_id, &seqs).await?;
    Ok(runs
        .into_iter()
        .map(|run| {
            let messages = messages.remove(&run.seq).unwrap_or_default();
            (run, messages)
        })
        .collect())
}

/// The run that was begun under an `Idempotency-Key`.
pub async fn find_repeated(app: &App, tenant: &TenantId, session_id: &SessionId, seq: i64) -> Result<Run, Error> {
    store::find_by_seq(&app.db, &any_run_of(tenant), session_id, seq).await?.ok_or_else(|| {
        Error::conflict("The run of this Idempotency-Key was deleted meanwhile; send the request with a new key")
    })
}

/// Waits until a run has ended, in whichever process it is executed.
pub async fn wait_for_end(
    app: &App,
    tenant: &TenantId,
    session_id: &SessionId,
    seq: i64,
) -> Result<(Run, Vec<Message>), Error> {
    loop {
        let run = find_repeated(app, tenant, session_id, seq).await?;
        if run.status.is_final() {
            let messages = messages(app, &any_run_of(tenant), &run).await?;
            return Ok((run, messages));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
