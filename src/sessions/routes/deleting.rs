//! Removing sessions, and parts of them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use uuid::Uuid;

use crate::{
    app::App,
    auth::Caller,
    http::{
        Body, Path, Problem, Query,
        conditional::IfMatch,
        discovery::check_database,
        extract::one_user,
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable, VersionMismatch},
    },
    runs::RunId,
    sessions::{
        SessionId,
        request::{DeleteSessionsBody, Deletion, SessionQuery},
        service, store,
        wire::DeletedSessions,
    },
};

/// Deletes a session with everything in it. Deleting what is not there is done already.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "delete_session",
    params(("session_id" = String, Path), SessionQuery, IfMatch),
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
    Query(query): Query<SessionQuery>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::delete(&app, &scope, session_id, query.session_type, &if_match).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes several sessions, by their ids or by the filters of the list.
///
/// Ids that are not there, or not yours, are passed over. With `dry_run` a filter only counts.
#[utoipa::path(
    delete,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "delete_sessions",
    params(SessionQuery),
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
    Query(query): Query<SessionQuery>,
    Body(body): Body<DeleteSessionsBody>,
) -> Result<Response, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    match Deletion::try_from(body)? {
        Deletion::Named { session_ids, types } => {
            let types = types.or_else(|| query.session_type.map(|one| vec![one; session_ids.len()]));
            let scope = Caller::claiming(query.user_id).scope();
            store::delete(&app.db, &scope, &session_ids, types.as_deref()).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Deletion::Matching { mut filter, user_id, dry_run } => {
            let caller = Caller::claiming(one_user(query.user_id, user_id, "/filter/user_id")?);
            filter.session_type = filter.session_type.or(query.session_type);
            let session_count = service::delete_matching(&app, &caller.scope(), &filter, dry_run).await?;
            Ok(Json(DeletedSessions { session_count, dry_run }).into_response())
        }
    }
}

/// Deletes a run that has ended, with its messages. The numbers of the others stay.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}/runs/{run_id}",
    tag = "Sessions",
    operation_id = "delete_session_run",
    params(("session_id" = String, Path), ("run_id" = RunId, Path), SessionQuery),
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
    Query(query): Query<SessionQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::delete_run(&app, &scope, &session_id, query.session_type, run_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a message. One that calls tools goes with their results; a result does not go alone.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}/messages/{message_id}",
    tag = "Sessions",
    operation_id = "delete_session_message",
    params(("session_id" = String, Path), ("message_id" = Uuid, Path), SessionQuery),
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
    Query(query): Query<SessionQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::delete_message(&app, &scope, &session_id, query.session_type, message_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
