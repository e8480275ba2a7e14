//! Removing sessions. A run that is under way does not bring one back.

use crate::{
    app::App,
    auth::Scope,
    database,
    http::{Problem, conditional::IfMatch},
    sessions::{
        SessionId, SessionType,
        filter::SessionFilter,
        store::{self, Selection, Words},
    },
};

/// Removes a session, if it is at a version that the caller has seen. What is not there is removed already.
pub async fn delete(
    app: &App,
    scope: &Scope,
    session_id: SessionId,
    session_type: Option<SessionType>,
    if_match: &IfMatch,
) -> Result<(), Problem> {
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

/// Removes all sessions that fit, or only counts them. Each batch is a transaction of its own: a request that was cut
/// off has removed some, and is repeated for the rest.
pub async fn delete_matching(app: &App, scope: &Scope, filter: &SessionFilter, dry_run: bool) -> Result<u64, Problem> {
    const BATCH: i64 = 500;
    let words = Words::of(&app.db, filter, &app.settings.search.text_config).await?;
    let selection = Selection::new(&app.db, scope, filter, words.as_ref()).await?;
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
