//! Changing a session.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    app::App,
    auth::Caller,
    http::{
        Body, Path, Problem, Query,
        conditional::{IfMatch, Tagged},
        discovery::check_database,
        refusals::{BodyRefused, NotThere, Unavailable, VersionMismatch},
    },
    sessions::{
        SessionId,
        request::{MergePatchBody, RenameBody, SessionQuery, UpdateRequest, UpdateSessionBody},
        service::{self, Edit},
        wire::{SessionDetail, WithNulls},
    },
};

/// Gives a session a name. It is kept whatever runs do meanwhile; an empty one takes it back.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/rename",
    tag = "Sessions",
    operation_id = "rename_session",
    params(("session_id" = String, Path), SessionQuery, IfMatch),
    request_body = RenameBody,
    responses(
        (status = 200, body = SessionDetail, headers(("ETag" = String, description = "The new version"))),
        BodyRefused,
        NotThere,
        VersionMismatch,
        Unavailable,
    )
)]
pub async fn rename_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
    if_match: IfMatch,
    Body(body): Body<RenameBody>,
) -> Result<Tagged<Json<WithNulls<SessionDetail>>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let edit = Edit { session_name: Some(body.session_name), ..Edit::default() };
    let edited = service::edit(&app, &scope, &session_id, query.session_type, &if_match, edit).await?;
    Ok(edited.map(|detail| Json(WithNulls(detail))))
}

/// Changes a session's name, state or metadata, archives, pins, or lets it expire.
///
/// As `application/json` each field that is given replaces what is there; as `application/merge-patch+json` the body is
/// merged into it by RFC 7396.
#[utoipa::path(
    patch,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "update_session",
    params(("session_id" = String, Path), SessionQuery, IfMatch),
    request_body(content(
        (UpdateSessionBody = "application/json"),
        (MergePatchBody = "application/merge-patch+json"),
    )),
    responses(
        (status = 200, body = SessionDetail, headers(("ETag" = String, description = "The new version"))),
        BodyRefused,
        NotThere,
        VersionMismatch,
        Unavailable,
    )
)]
pub async fn update_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
    if_match: IfMatch,
    UpdateRequest(edit): UpdateRequest,
) -> Result<Tagged<Json<WithNulls<SessionDetail>>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let edited = service::edit(&app, &scope, &session_id, query.session_type, &if_match, edit).await?;
    Ok(edited.map(|detail| Json(WithNulls(detail))))
}
