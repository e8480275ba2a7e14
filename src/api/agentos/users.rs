//! `/users/{id}`: all data of one user.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    api::{
        Path, Problem,
        refusals::{NotThere, Unavailable},
    },
    app::App,
    model::{Caller, UserId},
    users::{
        export,
        service::{self, Erased},
    },
};

/// Deletes all data of a user: sessions, runs, messages, memories and their history, the jobs waiting for them, and the
/// answers stored under an `Idempotency-Key`. Idempotent: a repeated call deletes nothing.
#[utoipa::path(
    delete,
    path = "/users/{user_id}",
    tag = "Users",
    operation_id = "delete_user",
    params(("user_id" = String, Path)),
    responses((status = 200, body = Erased), NotThere, Unavailable)
)]
pub async fn delete_user(
    State(app): State<Arc<App>>,
    Path(user_id): Path<UserId>,
    caller: Caller,
) -> Result<Json<Erased>, Problem> {
    Ok(Json(service::erase(&app, caller.tenant(), &user_id).await?))
}

/// Exports all data of a user as lines of JSON. `type` is `session`, `message`, `summary` or `memory`. The last line,
/// of type `end`, has the counts; without it the export is incomplete.
#[utoipa::path(
    get,
    path = "/users/{user_id}/export",
    tag = "Users",
    operation_id = "export_user",
    params(("user_id" = String, Path)),
    responses(
        (status = 200, description = "Lines of JSON", body = String, content_type = "application/x-ndjson"),
        NotThere,
        Unavailable,
    )
)]
pub async fn export_user(State(app): State<Arc<App>>, Path(user_id): Path<UserId>, caller: Caller) -> Response {
    let lines = export::lines(app.db.clone(), caller.tenant().clone(), user_id);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
