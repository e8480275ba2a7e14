//! The webhook URLs of runs. They are stored by the statement that settles a run.

use sqlx::PgPool;

use super::WebhookUrl;
use crate::model::{RunId, TenantId};

/// The URL of a webhook that is still to be delivered. For the job that delivers it.
pub async fn webhook_url(db: &PgPool, tenant: &TenantId, run_id: RunId) -> Result<Option<WebhookUrl>, sqlx::Error> {
    let url = sqlx::query_scalar!(
        "
        select o.webhook_url
        from runs r join outcomes o using (tenant_id, session_id, seq)
        where r.tenant_id = $1 and r.run_id = $2
        ",
        tenant.as_str(),
        run_id as RunId,
    );
    Ok(url.fetch_optional(db).await?.flatten().map(WebhookUrl::stored))
}

/// Removes the URL after delivery.
pub async fn forget_webhook_url(db: &PgPool, tenant: &TenantId, run_id: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update outcomes o set webhook_url = null
        from runs r
        where r.tenant_id = $1 and r.run_id = $2
          and o.tenant_id = $1 and o.session_id = r.session_id and o.seq = r.seq
        ",
        tenant.as_str(),
        run_id as RunId,
    )
    .execute(db)
    .await?;
    Ok(())
}
