//! `/sessions`: making, listing and reading sessions here; `conversation`, `editing`, `deleting` and
//! `copying` have the rest.

mod conversation;
mod copying;
mod deleting;
mod editing;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    model::SessionId,
    request::{CreateQuery, CreateSessionBody, GetQuery, ListQuery, Listing},
    service::{self, CreateSession, ListSessions, MessagesPage},
    wire::{SessionDetail, SessionItem},
};
use crate::{
    app::App,
    auth::Caller,
    http::{
        Body, Path, Problem, Query,
        conditional::Tagged,
        discovery::check_database,
        idempotency::{Claimed, IdempotencyKey},
        paging::{Page, PageRequest},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
};

pub use self::{conversation::*, copying::*, deleting::*, editing::*};

/// Lists sessions, newest first, without their conversations.
///
/// All filters that are given have to hold. `metadata.<key>=<value>` compares a key of the metadata, and may be given
/// for several keys. Totals are counted up to 10,000; to read a long list, follow `meta.next_cursor`.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "list_sessions",
    params(
        ListQuery,
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
    Listing { query, filter, sort }: Listing,
) -> Result<Json<Page<SessionItem>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    if query.page.is_some() && query.cursor.is_some() {
        return Err(Problem::invalid("page", "is given beside a cursor; give one of them"));
    }
    let page = PageRequest::new(query.page, query.limit)?;
    let include_total = query.include_total.unwrap_or(true);
    let list = ListSessions { filter, sort, page, cursor: query.cursor, include_total };
    service::list(&app, &Caller::claiming(query.user_id).scope(), list).await.map(Json)
}

/// Creates an empty session. A run on an id that is not in use does so too.
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
    let created = service::create(&app, &Caller::claiming(body.user_id), create, &claimed).await?;
    Ok(created.map(|detail| (StatusCode::CREATED, Json(detail))))
}

/// Shows a session with the newest part of its conversation.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "get_session",
    params(("session_id" = String, Path), GetQuery),
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
    Query(query): Query<GetQuery>,
) -> Result<Tagged<Json<SessionDetail>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = MessagesPage::new(query.messages_limit, query.messages_before)?;
    let scope = Caller::claiming(query.user_id).scope();
    service::get(&app, &scope, &session_id, query.session_type, page).await.map(|found| found.map(Json))
}
