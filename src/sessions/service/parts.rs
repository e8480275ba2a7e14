//! Deletes single runs and messages, and what was derived from them: the summaries that cover them, the memories
//! learned from them alone, and the title if it was made from them.

use sqlx::PgConnection;
use uuid::Uuid;

use super::of_type;
use crate::{
    app::App,
    database,
    model::{Error, Role, RunId, RunStatus, Scope, SessionId, SessionType, session as model},
    sessions::store,
    summaries,
};

/// Deletes a run that has ended. Idempotent: succeeds if the session has no such run.
pub async fn delete_run(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    run_id: RunId,
) -> Result<(), Error> {
    let mut tx = database::begin(&app.db).await?;
    of_type(store::lock(&mut tx, scope, session_id).await?, session_id, session_type)?;
    let Some(run) = store::find_run(&mut tx, scope, session_id, run_id).await? else { return Ok(()) };
    refuse_unfinished(run.status)?;
    store::delete_run(&mut tx, scope, session_id, run.seq).await?;
    forget_runs(app, &mut tx, scope, session_id, &[run.seq]).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes a message of a run that has ended. Tool calls are deleted with their results, because a model must not be
/// shown a call without its result.
pub async fn delete_message(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    message_id: Uuid,
) -> Result<(), Error> {
    let mut tx = database::begin(&app.db).await?;
    of_type(store::lock(&mut tx, scope, session_id).await?, session_id, session_type)?;
    let Some(message) = store::find_message(&mut tx, scope, session_id, message_id).await? else { return Ok(()) };
    refuse_unfinished(message.status)?;
    if message.role == Role::Tool {
        return Err(Error::conflict(
            "This message is the result of a tool call; delete the message that makes the call, and it goes with it",
        ));
    }
    store::delete_message(&mut tx, scope, session_id, &message).await?;
    summaries::forget_part(app, &mut tx, scope.tenant_id(), session_id, message.seq).await?;
    retitle(&mut tx, scope, session_id, message.seq == 1).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes what was derived from these deleted runs: the summaries that cover them, and the session's title. To be
/// called in the transaction that deletes them.
pub async fn forget_runs(
    app: &App,
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<(), sqlx::Error> {
    summaries::forget(app, connection, scope.tenant_id(), session_id, seqs).await?;
    retitle(connection, scope, session_id, seqs.contains(&1)).await
}

fn refuse_unfinished(status: RunStatus) -> Result<(), Error> {
    if status.is_final() {
        return Ok(());
    }
    Err(Error::conflict(format!("The run is {}; cancel it, or wait for its end, and try again", status.as_str())))
}

async fn retitle(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    first_has_changed: bool,
) -> Result<(), sqlx::Error> {
    let title = store::first_input(connection, scope, session_id).await?.and_then(|input| model::title(&input));
    store::touch(connection, scope, session_id, title.as_deref(), first_has_changed).await
}
