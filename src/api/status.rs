//! Liveness and readiness.

use std::sync::{Arc, atomic::Ordering};

use axum::{Json, extract::State, http::StatusCode};
use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{app::App, database};

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    /// When this process started; RFC 3339, UTC.
    #[schema(example = "2026-11-22T10:05:04.456082Z")]
    instantiated_at: String,
}

/// Liveness: the process is running. The database is not checked.
#[utoipa::path(
    get,
    path = "/health",
    tag = "Service",
    operation_id = "get_health",
    responses((status = 200, description = "It is alive", body = Health))
)]
pub async fn get_health(State(app): State<Arc<App>>) -> Json<Health> {
    let instantiated_at = app.started_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    Json(Health { status: "ok", instantiated_at })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `unavailable`.
    #[schema(example = "ready")]
    status: &'static str,
    /// `ok`, or the problem.
    #[schema(example = "ok")]
    database: &'static str,
    /// `ok`, or the problem.
    #[schema(example = "ok")]
    migrations: &'static str,
    /// `ok`; `none` if the settings leave background work to other processes; otherwise the problem.
    #[schema(example = "ok")]
    workers: &'static str,
}

/// Readiness: runs can be served. The database answers and its schema is up to date.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "Service",
    operation_id = "get_ready",
    responses((status = 200, description = "It can serve", body = Readiness), (status = 503, description = "Not now", body = Readiness))
)]
pub async fn get_ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let (database, migrations) = match database::is_migrated(&app.db).await {
        Ok(true) => ("ok", "ok"),
        Ok(false) => ("ok", "behind: run `colloquy migrate`"),
        Err(error) => {
            tracing::warn!(%error, "The database does not answer.");
            ("does not answer", "unknown")
        }
    };
    // Runs can be served without workers, so workers do not affect readiness.
    let workers = match (app.settings.jobs.workers, app.workers_are_up.load(Ordering::Relaxed)) {
        (0, _) => "none",
        (_, true) => "ok",
        (_, false) => "starting",
    };
    let is_ready = (database, migrations) == ("ok", "ok");
    let (code, status) =
        if is_ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") };
    (code, Json(Readiness { status, database, migrations, workers }))
}
