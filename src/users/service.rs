//! Erasing all of a user, wherever it stands.

use serde::Serialize;
use utoipa::ToSchema;

use super::store::{self, Counts, Loss};
use crate::{
    app::App,
    auth::{Scope, UserId},
    database,
    http::idempotency,
    jobs::{self, Job},
    sessions,
};

/// How much was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Erased {
    #[serde(flatten)]
    pub counts: Counts,
    /// Background work that waited or had failed.
    pub jobs: i64,
    /// Answers that were kept under an `Idempotency-Key`.
    pub idempotency_keys: i64,
}

/// Erases it, in one transaction.
pub(super) async fn erase(app: &App, user: &UserId) -> Result<Erased, sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    store::hold(&mut tx, user).await?;
    // Both find what is the user's by the sessions that are erased next.
    let jobs = jobs::forget_user(app, &mut tx, user).await?;
    let idempotency_keys = idempotency::forget_user(&mut tx, user).await?;
    let (counts, losses) = store::erase(&mut tx, user).await?;
    for Loss { session_id, seqs } in losses {
        sessions::service::forget_runs(app, &mut tx, &Scope::All, &session_id, &seqs).await?;
    }
    // Of a session that has come meanwhile.
    jobs::forget(app, &mut tx, &Job::Learn { user_id: user.clone() }).await?;
    tx.commit().await?;
    Ok(Erased { counts, jobs, idempotency_keys })
}
