//! Deleting sessions, runs and messages.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use uuid::Uuid;

use crate::{
    api::{
        Asked, Body, ForUser, Path, Problem,
        agentos::sessions::{
            request::{DeleteSessionsBody, Deletion, SessionQuery},
            wire::DeletedSessions,
        },
        discovery::check_database,
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable, VersionMismatch},
    },
    app::App,
    model::{RunId, SessionId, version::IfMatch},
    sessions::{service, store},
};

/// Deletes a session with everything in it. DELETE is idempotent: 204 even if the session does not exist.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "delete_session",
    params(("session_id" = String, Path), SessionQuery, ForUser, IfMatch),
    responses(
        (status = 204, description = "It is gone"),
        NotThere,
        ParametersRefused,
        VersionMismatch,
        Unavailable,
    )
)]
pub async fn delete_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Asked { caller, query }: Asked<SessionQuery>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    service::delete(&app, &scope, session_id, query.session_type, &if_match).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes several sessions, by their ids or by the filters of the list.
///
/// Ids that do not exist, or are not yours, are ignored. A filter with `dry_run` only counts.
#[utoipa::path(
    delete,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "delete_sessions",
    params(SessionQuery, ForUser),
    request_body = DeleteSessionsBody,
    responses(
        (status = 200, description = "Those that fit the filter are gone, or were counted", body = DeletedSessions),
        (status = 204, description = "Those with the ids are gone"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn delete_sessions(
    State(app): State<Arc<App>>,
    Asked { caller, query }: Asked<SessionQuery>,
    Body(body): Body<DeleteSessionsBody>,
) -> Result<Response, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    match Deletion::try_from(body)? {
        Deletion::Named { session_ids, types } => {
            let types = types.or_else(|| query.session_type.map(|one| vec![one; session_ids.len()]));
            let scope = caller.scope();
            store::delete(&app.db, &scope, &session_ids, types.as_deref()).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Deletion::Matching { mut filter, user_id, dry_run } => {
            let caller = caller.acting_for(user_id, "/filter/user_id")?;
            filter.session_type = filter.session_type.or(query.session_type);
            let session_count = service::delete_matching(&app, &caller.scope(), &filter, dry_run).await?;
            Ok(Json(DeletedSessions { session_count, dry_run }).into_response())
        }
    }
}

/// Deletes a run that has ended, with its messages. The other runs keep their numbers.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}/runs/{run_id}",
    tag = "Sessions",
    operation_id = "delete_session_run",
    params(("session_id" = String, Path), ("run_id" = RunId, Path), SessionQuery, ForUser),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "The run has not ended", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn delete_session_run(
    State(app): State<Arc<App>>,
    Path((session_id, run_id)): Path<(SessionId, RunId)>,
    Asked { caller, query }: Asked<SessionQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    service::delete_run(&app, &scope, &session_id, query.session_type, run_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a message. One with tool calls is deleted together with their results; a tool result cannot be deleted
/// alone.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}/messages/{message_id}",
    tag = "Sessions",
    operation_id = "delete_session_message",
    params(("session_id" = String, Path), ("message_id" = Uuid, Path), SessionQuery, ForUser),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "The run has not ended, or the message is the result of a tool call", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn delete_session_message(
    State(app): State<Arc<App>>,
    Path((session_id, message_id)): Path<(SessionId, Uuid)>,
    Asked { caller, query }: Asked<SessionQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    service::delete_message(&app, &scope, &session_id, query.session_type, message_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
