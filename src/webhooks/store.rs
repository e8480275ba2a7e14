//! The webhook URLs of runs.

use sqlx::{PgConnection, PgPool};

use super::WebhookUrl;
use crate::model::{Claim, RunId};

/// Stores the URL with a run, in the transaction that settles the run.
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

/// The URL of a webhook that is still to be delivered. For the job that delivers it.
pub async fn webhook_url(db: &PgPool, run_id: RunId) -> Result<Option<WebhookUrl>, sqlx::Error> {
    let url = sqlx::query_scalar!("select webhook_url from runs where run_id = $1", run_id as RunId);
    Ok(url.fetch_optional(db).await?.flatten().map(WebhookUrl::stored))
}

/// Removes the URL after delivery.
pub async fn forget_webhook_url(db: &PgPool, run_id: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!("update runs set webhook_url = null where run_id = $1", run_id as RunId).execute(db).await?;
    Ok(())
}
