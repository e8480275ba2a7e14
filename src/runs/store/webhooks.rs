//! Where the ends of runs are told.

use sqlx::{PgConnection, PgPool};

use super::Claim;
use crate::runs::{model::RunId, webhook::WebhookUrl};

/// Keeps it with a run that the claim has ended, in the same transaction.
pub async fn keep_webhook_url(
    connection: &mut PgConnection,
    claim: &Claim,
    url: &WebhookUrl,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update runs set webhook_url = $4 where session_id = $1 and seq = $2 and run_id = $3",
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        url.expose(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where the end of this run is still to be told. For the job that tells it.
pub async fn webhook_url(db: &PgPool, run_id: RunId) -> Result<Option<WebhookUrl>, sqlx::Error> {
    let url = sqlx::query_scalar!("select webhook_url from runs where run_id = $1", run_id as RunId);
    Ok(url.fetch_optional(db).await?.flatten().map(WebhookUrl::stored))
}

/// The end has been told.
pub async fn forget_webhook_url(db: &PgPool, run_id: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!("update runs set webhook_url = null where run_id = $1", run_id as RunId).execute(db).await?;
    Ok(())
}
