//! Token usage of background work on sessions.

use sqlx::PgPool;

use super::{Purpose, entries};
use crate::model::{ModelUsage, SessionId, TenantId};

/// Adds a call to the session's token usage. Does nothing if the session was deleted.
///
/// The session's version stays: a client's edit is not refused because of costs.
pub async fn add(
    db: &PgPool,
    tenant: &TenantId,
    session_id: &SessionId,
    purpose: Purpose,
    usage: &ModelUsage,
) -> Result<(), sqlx::Error> {
    let (names, numbers) = entries(purpose, std::slice::from_ref(usage));
    sqlx::query!(
        "update sessions set usage = add_usage(usage, $3, $4) where tenant_id = $1 and session_id = $2",
        tenant.as_str(),
        session_id.as_str(),
        &names,
        &numbers,
    )
    .execute(db)
    .await?;
    Ok(())
}
