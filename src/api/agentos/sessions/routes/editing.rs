//! Changing a session.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    api::{
        Asked, Body, ForUser, Path, Problem,
        agentos::sessions::{
            request::{MergePatchBody, RenameBody, SessionQuery, UpdateRequest, UpdateSessionBody},
            wire::{SessionDetail, WithNulls},
        },
        discovery::check_database,
        refusals::{BodyRefused, NotThere, Unavailable, VersionMismatch},
    },
    app::App,
    model::{
        SessionId,
        version::{IfMatch, Tagged},
    },
    sessions::service::{self, Edit},
};

/// Sets a session's name. Concurrent runs do not overwrite it. An empty name restores the one derived from the first
/// message.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/rename",
    tag = "Sessions",
    operation_id = "rename_session",
    params(("session_id" = String, Path), SessionQuery, ForUser, IfMatch),
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
    Asked { caller, query }: Asked<SessionQuery>,
    if_match: IfMatch,
    Body(body): Body<RenameBody>,
) -> Result<Tagged<Json<WithNulls<SessionDetail>>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    let edit = Edit { session_name: Some(body.session_name), ..Edit::default() };
    let edited = service::edit(&app, &scope, &session_id, query.session_type, &if_match, edit).await?;
    Ok(edited.map(|edited| Json(WithNulls(SessionDetail::new(edited, &app.agents)))))
}

/// Changes a session's name, state, metadata, archived or pinned flag, or expiry.
///
/// With `application/json`, each given field replaces the stored one. With `application/merge-patch+json`, the body is
/// merged into the session by RFC 7396.
#[utoipa::path(
    patch,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "update_session",
    params(("session_id" = String, Path), SessionQuery, ForUser, IfMatch),
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
    Asked { caller, query }: Asked<SessionQuery>,
    if_match: IfMatch,
    UpdateRequest(edit): UpdateRequest,
) -> Result<Tagged<Json<WithNulls<SessionDetail>>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    let edited = service::edit(&app, &scope, &session_id, query.session_type, &if_match, edit).await?;
    Ok(edited.map(|edited| Json(WithNulls(SessionDetail::new(edited, &app.agents)))))
}
