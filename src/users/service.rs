//! Erases all data of a user.

use serde::Serialize;
use utoipa::ToSchema;

use super::store::{self, Counts, Loss};
use crate::{
    app::App,
    database, idempotency,
    jobs::{self, Job},
    model::{Scope, TenantId, UserId},
    sessions,
};

/// How much of a user's data was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Erased {
    #[serde(flatten)]
    pub counts: Counts,
    /// Background jobs that were waiting or had failed.
    pub jobs: i64,
    /// Idempotency keys, with the answers stored under them.
    pub idempotency_keys: i64,
}

/// Erases all data of the user, in one transaction.
pub async fn erase(app: &App, tenant: &TenantId, user: &UserId) -> Result<Erased, sqlx::Error> {
    let own_work = Scope::System(tenant.clone(), "what a user said is erased from everybody's sessions");
    let mut tx = database::begin(&app.db).await?;
    store::hold(&mut tx, tenant, user).await?;
    // Both find the user's rows by the sessions, which are erased next.
    let jobs = jobs::forget_user(app, &mut tx, tenant, user).await?;
    let idempotency_keys = idempotency::forget_user(&mut tx, tenant, user).await?;
    let (counts, losses) = store::erase(&mut tx, tenant, user).await?;
    for Loss { session_id, seqs } in losses {
        sessions::service::forget_runs(app, &mut tx, &own_work, &session_id, &seqs).await?;
    }
    // A session that was created meanwhile may have enqueued it.
    jobs::forget(app, &mut tx, &Job::Learn { tenant_id: tenant.clone(), user_id: user.clone() }).await?;
    tx.commit().await?;
    Ok(Erased { counts, jobs, idempotency_keys })
}
