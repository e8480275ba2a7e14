//! `/sessions`: creating, listing and reading sessions. The other routes are in `conversation`, `editing`, `deleting`
//! and `copying`.

mod conversation;
mod copying;
mod deleting;
mod editing;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    request::{CreateQuery, CreateSessionBody, GetQuery, ListQuery, Listing},
    wire::{SessionDetail, SessionItem},
};
use crate::{
    api::{
        Asked, Body, ForUser, Path, Problem, Query,
        discovery::check_database,
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    model::{
        Caller, SessionId,
        paging::{Page, PageRequest},
        version::Tagged,
    },
    sessions::service::{self, CreateSession, ListSessions, MessagesPage},
    {api::idempotency::IdempotencyKey, idempotency::Claimed},
};

pub use self::{conversation::*, copying::*, deleting::*, editing::*};

/// Lists sessions, newest first, without their conversations.
///
/// Filters are combined with AND. `metadata.<key>=<value>` filters by a key of the metadata, and may be given for up to
/// 16 keys. Totals are counted up to 10,000; to read a long list, follow `meta.next_cursor`.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "list_sessions",
    params(
        ListQuery,
        ForUser,
        ("metadata" = Option<HashMap<String, String>>, Query, style = DeepObject, explode,
            description = "`metadata.<key>=<value>`, or `metadata[<key>]=<value>`"),
    ),
    responses(
        (status = 200, body = Page<SessionItem>),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn list_sessions(
    State(app): State<Arc<App>>,
    Listing { caller, query, filter, sort }: Listing,
) -> Result<Json<Page<SessionItem>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    if query.page.is_some() && query.cursor.is_some() {
        return Err(Problem::invalid("page", "is given beside a cursor; give one of them"));
    }
    let page = PageRequest::new(query.page, query.limit)?;
    let include_total = query.include_total.unwrap_or(true);
    let list = ListSessions { filter, sort, page, cursor: query.cursor, include_total };
    let found = service::list(&app, &caller.scope(), list).await?;
    Ok(Json(found.map(SessionItem::new)))
}

/// Creates an empty session. A run with an unused session id also creates one.
#[utoipa::path(
    post,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "create_session",
    params(CreateQuery, IdempotencyKey),
    request_body = Option<CreateSessionBody>,
    responses(
        (status = 201, body = SessionDetail, headers(("ETag" = String, description = "The version"))),
        (status = 409, description = "The id is in use, or the first request with this key is still carried out", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn create_session(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<CreateQuery>,
    claimed: Claimed,
    body: Option<Body<CreateSessionBody>>,
) -> Result<Tagged<(StatusCode, Json<SessionDetail>)>, Problem> {
    check_database(query.db_id.as_deref(), None)?;
    let body = body.map(|Body(body)| body).unwrap_or_default();
    let session_type = query.session_type.unwrap_or_default();
    let create = CreateSession {
        component_id: body.component_id(session_type)?,
        session_id: body.session_id,
        session_type,
        session_name: body.session_name,
        session_state: body.session_state.unwrap_or_default(),
        metadata: body.metadata.unwrap_or_default(),
    };
    let caller = caller.acting_for(body.user_id, "/user_id")?;
    let created = service::create(&app, &caller, create, &claimed).await?;
    Ok(created.map(|created| (StatusCode::CREATED, Json(SessionDetail::new(created, &app.agents)))))
}

/// Shows a session with the newest part of its conversation.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "get_session",
    params(("session_id" = String, Path), GetQuery, ForUser),
    responses(
        (status = 200, body = SessionDetail, headers(("ETag" = String, description = "The version, for `If-Match`"))),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn get_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Asked { caller, query }: Asked<GetQuery>,
) -> Result<Tagged<Json<SessionDetail>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = MessagesPage::new(query.messages_limit, query.messages_before)?;
    let scope = caller.scope();
    let found = service::get(&app, &scope, &session_id, query.session_type, page).await?;
    Ok(found.map(|found| Json(SessionDetail::new(found, &app.agents))))
}
