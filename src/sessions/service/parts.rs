//! Removing single runs and messages. What the others say of them goes too: the summaries that cover them, the memories
//! that were drawn from them alone, and the title if it was taken from them.

use sqlx::PgConnection;
use uuid::Uuid;

use super::of_type;
use crate::{
    app::App,
    auth::Scope,
    database,
    http::Problem,
    runs::{
        RunId,
        model::{Role, RunStatus},
    },
    sessions::{SessionId, SessionType, model, store, summary},
};

/// Removes a run that has ended. One that is not there is removed already.
pub async fn delete_run(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    run_id: RunId,
) -> Result<(), Problem> {
    let mut tx = database::begin(&app.db).await?;
    of_type(store::lock(&mut tx, scope, session_id).await?, session_id, session_type)?;
    let Some(run) = store::find_run(&mut tx, scope, session_id, run_id).await? else { return Ok(()) };
    refuse_unfinished(run.status)?;
    store::delete_run(&mut tx, scope, session_id, run.seq).await?;
    forget_runs(app, &mut tx, scope, session_id, &[run.seq]).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes a message of a run that has ended; one that calls tools with their results, because a call without its result
/// is nothing that a model may be shown.
pub async fn delete_message(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    message_id: Uuid,
) -> Result<(), Problem> {
    let mut tx = database::begin(&app.db).await?;
    of_type(store::lock(&mut tx, scope, session_id).await?, session_id, session_type)?;
    let Some(message) = store::find_message(&mut tx, scope, session_id, message_id).await? else { return Ok(()) };
    refuse_unfinished(message.status)?;
    if message.role == Role::Tool {
        return Err(Problem::conflict(
            "This message is the result of a tool call; delete the message that makes the call, and it goes with it",
        ));
    }
    store::delete_message(&mut tx, scope, session_id, &message).await?;
    summary::forget_part(app, &mut tx, session_id, message.seq).await?;
    retitle(&mut tx, scope, session_id, message.seq == 1).await?;
    tx.commit().await?;
    Ok(())
}

/// What says of these runs, which are deleted, what was said in them goes too: the summaries that cover them, and the
/// session's name. For the transaction that deletes them.
pub async fn forget_runs(
    app: &App,
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<(), sqlx::Error> {
    summary::forget(app, connection, session_id, seqs).await?;
    retitle(connection, scope, session_id, seqs.contains(&1)).await
}

fn refuse_unfinished(status: RunStatus) -> Result<(), Problem> {
    if status.is_final() {
        return Ok(());
    }
    Err(Problem::conflict(format!("The run is {}; cancel it, or wait for its end, and try again", status.as_str())))
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
