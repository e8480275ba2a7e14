//! `/users/{id}`: all that is stored of one user.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    export,
    service::{self, Erased},
};
use crate::{
    app::App,
    auth::UserId,
    http::{
        Path, Problem,
        refusals::{NotThere, Unavailable},
    },
};

/// Erases everything of a user: sessions, runs, messages, memories and their history, the jobs
/// that wait for them, and the answers kept under an `Idempotency-Key`. Doing it again erases nothing.
#[utoipa::path(
    delete,
    path = "/users/{user_id}",
    tag = "Users",
    operation_id = "delete_user",
    params(("user_id" = String, Path)),
    responses((status = 200, body = Erased), NotThere, Unavailable)
)]
pub async fn delete_user(State(app): State<Arc<App>>, Path(user_id): Path<UserId>) -> Result<Json<Erased>, Problem> {
    Ok(Json(service::erase(&app, &user_id).await?))
}

/// Hands out everything of a user, a line of JSON each: `type` is `session`, `message`, `summary` or
/// `memory`. The last line, of type `end`, counts them; an export without it has broken off.
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
pub async fn export_user(State(app): State<Arc<App>>, Path(user_id): Path<UserId>) -> Response {
    let lines = export::lines(app.db.clone(), user_id);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
