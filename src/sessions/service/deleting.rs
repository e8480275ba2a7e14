//! Deletes sessions. An active run does not recreate its session.

use crate::{
    app::App,
    database,
    model::{Error, Scope, SessionId, SessionType, version::IfMatch},
    sessions::{
        filter::SessionFilter,
        store::{self, Selection, Words},
    },
};

/// Deletes a session, if its version fits `If-Match`. Idempotent: succeeds if the session does not exist.
pub async fn delete(
    app: &App,
    scope: &Scope,
    session_id: SessionId,
    session_type: Option<SessionType>,
    if_match: &IfMatch,
) -> Result<(), Error> {
    let types = session_type.map(|session_type| vec![session_type]);
    let mut tx = database::begin(&app.db).await?;
    if if_match.is_given()
        && let Some(session) = store::lock(&mut tx, scope, &session_id).await?
    {
        if_match.check(&session.tag())?;
    }
    store::delete(&mut *tx, scope, &[session_id], types.as_deref()).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes all sessions that match, or, with `dry_run`, counts them. Each batch is its own transaction: an interrupted
/// request has deleted some, and can be repeated for the rest.
pub async fn delete_matching(app: &App, scope: &Scope, filter: &SessionFilter, dry_run: bool) -> Result<u64, Error> {
    const BATCH: i64 = 500;
    let words = Words::of(&app.db, scope, filter, &app.settings.search.text_config).await?;
    let selection = Selection::new(&app.db, scope, filter, words.as_ref(), None).await?;
    if dry_run {
        return Ok(store::count(&app.db, selection, None).await?.unsigned_abs());
    }
    let mut deleted = 0;
    loop {
        let batch = store::delete_matching(&app.db, selection, BATCH).await?;
        deleted += batch;
        if batch < BATCH.unsigned_abs() {
            return Ok(deleted);
        }
    }
}
