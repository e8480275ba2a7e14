//! `/sessions`.

use std::sync::Arc;

use super::{
    model::SessionId,
    request::{
        CreateQuery, CreateSessionBody, DeleteSessionsBody, GetQuery, ListQuery, RenameBody, RunsQuery, SessionQuery,
        UpdateSessionBody,
    },
    service::{self, CreateSession, MessagesPage},
    store::{self, Edit, SessionFilter},
    wire::{SessionDetail, SessionItem, WithNulls},
};
use crate::{
    app::App,
    auth::Caller,
    http::{
        Body, Path, Problem, Query,
        discovery::check_database,
        idempotency::IdempotencyKey,
        paging::{Page, PageRequest},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    runs::{
        self, RunId,
        wire::{RunPreview, RunSchema},
    },
};
use axum::{Json, extract::State, http::StatusCode};

/// Lists sessions, newest first, without their conversations.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "list_sessions",
    params(ListQuery),
    responses(
        (status = 200, body = Page<SessionItem>),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn list_sessions(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<SessionItem>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = PageRequest::new(query.page, query.limit)?;
    let filter = SessionFilter {
        session_type: query.session_type,
        component_id: query.component_id,
        session_name: query.session_name,
    };
    let sort = (query.sort_by.unwrap_or_default(), query.sort_order.unwrap_or_default());
    let scope = Caller::claiming(query.user_id).scope();
    service::list(&app, &scope, &filter, sort, page).await.map(Json)
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
        (status = 201, body = SessionDetail),
        (status = 409, description = "The id is in use, or the first request with this key is still carried out", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn create_session(
    State(app): State<Arc<App>>,
    Query(query): Query<CreateQuery>,
    body: Option<Body<CreateSessionBody>>,
) -> Result<(StatusCode, Json<SessionDetail>), Problem> {
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
    let detail = service::create(&app, &Caller::claiming(body.user_id), create).await?;
    Ok((StatusCode::CREATED, Json(detail)))
}

/// Shows a session with the newest part of its conversation.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "get_session",
    params(("session_id" = String, Path), GetQuery),
    responses(
        (status = 200, body = SessionDetail),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn get_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<GetQuery>,
) -> Result<Json<SessionDetail>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = MessagesPage::new(query.messages_limit, query.messages_before.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::get(&app, &scope, &session_id, query.session_type, page).await.map(Json)
}

/// Gives a session a name. It is kept whatever runs do meanwhile.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/rename",
    tag = "Sessions",
    operation_id = "rename_session",
    params(("session_id" = String, Path), SessionQuery),
    request_body = RenameBody,
    responses(
        (status = 200, body = SessionDetail),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn rename_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
    Body(body): Body<RenameBody>,
) -> Result<Json<WithNulls<SessionDetail>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let edit = Edit { session_name: Some(body.session_name), ..Edit::default() };
    service::edit(&app, &scope, &session_id, query.session_type, edit).await.map(|detail| Json(WithNulls(detail)))
}

/// Replaces a session's name, state or metadata.
#[utoipa::path(
    patch,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "update_session",
    params(("session_id" = String, Path), SessionQuery),
    request_body = UpdateSessionBody,
    responses(
        (status = 200, body = SessionDetail),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn update_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
    Body(body): Body<UpdateSessionBody>,
) -> Result<Json<WithNulls<SessionDetail>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::edit(&app, &scope, &session_id, query.session_type, body.into())
        .await
        .map(|detail| Json(WithNulls(detail)))
}

/// Deletes a session with everything in it. Deleting what is not there is done already.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "delete_session",
    params(("session_id" = String, Path), SessionQuery),
    responses(
        (status = 204, description = "It is gone"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn delete_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let types = query.session_type.map(|session_type| vec![session_type]);
    store::delete(&app.db, &scope, &[session_id], types.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes several sessions. Those that are not there, or not yours, are passed over.
#[utoipa::path(
    delete,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "delete_sessions",
    params(SessionQuery),
    request_body = DeleteSessionsBody,
    responses(
        (status = 204, description = "They are gone"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn delete_sessions(
    State(app): State<Arc<App>>,
    Query(query): Query<SessionQuery>,
    Body(body): Body<DeleteSessionsBody>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    body.check()?;
    let scope = Caller::claiming(query.user_id).scope();
    let of_one_type = query.session_type.map(|session_type| vec![session_type; body.session_ids.len()]);
    let types = body.session_types.or(of_one_type);
    store::delete(&app.db, &scope, &body.session_ids, types.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a session's runs with their messages, oldest first.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/runs",
    tag = "Sessions",
    operation_id = "list_session_runs",
    params(("session_id" = String, Path), RunsQuery),
    responses(
        (status = 200, body = Vec<RunSchema>),
        (status = 400, description = "There is no such status", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn list_session_runs(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Vec<RunSchema>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id.clone()).scope();
    service::find(&app, &scope, &session_id, query.session_type).await?;
    let runs = runs::reading::list(&app, &scope, &session_id, &query.filter()?).await?;
    Ok(Json(runs.into_iter().map(|(run, messages)| RunSchema::new(run, messages)).collect()))
}

/// Lists the beginnings of a session's runs, oldest first, without their messages.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/run-previews",
    tag = "Sessions",
    operation_id = "list_session_run_previews",
    params(("session_id" = String, Path), RunsQuery),
    responses(
        (status = 200, body = Vec<RunPreview>),
        (status = 400, description = "There is no such status", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn list_session_run_previews(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Vec<RunPreview>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id.clone()).scope();
    service::find(&app, &scope, &session_id, query.session_type).await?;
    let runs = runs::store::list(&app.db, &scope, &session_id, &query.filter()?).await?;
    Ok(Json(runs.into_iter().map(RunPreview::from).collect()))
}

/// Shows one run of a session with its messages.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/runs/{run_id}",
    tag = "Sessions",
    operation_id = "get_session_run",
    params(("session_id" = String, Path), ("run_id" = RunId, Path), SessionQuery),
    responses(
        (status = 200, body = RunSchema),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn get_session_run(
    State(app): State<Arc<App>>,
    Path((session_id, run_id)): Path<(SessionId, RunId)>,
    Query(query): Query<SessionQuery>,
) -> Result<Json<RunSchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::find(&app, &scope, &session_id, query.session_type).await?;
    let (run, messages) = runs::reading::get(&app, &scope, run_id)
        .await?
        .filter(|(run, _)| run.session_id == session_id)
        .ok_or_else(|| Problem::not_found(format!("Run with ID {run_id} not found in session {session_id}")))?;
    Ok(Json(RunSchema::new(run, messages)))
}
