//! The runs and messages of a session: `/sessions/{session_id}/runs`, `/run-previews` and `/messages`.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    api::{
        Asked, ForUser, Path, Problem,
        agentos::{
            runs::wire::{RunPreview, RunSchema},
            sessions::{
                request::{MessagesQuery, RunsQuery, SessionQuery},
                wire::SessionMessage,
            },
        },
        discovery::check_database,
        problem::ProblemDocument,
        refusals::{NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    model::{
        RunId, SessionId,
        paging::{Page, SortOrder, check_limit},
    },
    runs,
    sessions::service,
};

/// Lists a session's runs with their messages, oldest first.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/runs",
    tag = "Sessions",
    operation_id = "list_session_runs",
    params(("session_id" = String, Path), RunsQuery, ForUser),
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
    Asked { caller, query }: Asked<RunsQuery>,
) -> Result<Json<Vec<RunSchema>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    service::find(&app, &scope, &session_id, query.session_type).await?;
    let runs = runs::reading::list(&app, &scope, &session_id, &query.filter()?).await?;
    Ok(Json(runs.into_iter().map(|(run, messages)| RunSchema::new(run, messages)).collect()))
}

/// Lists previews of a session's runs, oldest first, without their messages.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/run-previews",
    tag = "Sessions",
    operation_id = "list_session_run_previews",
    params(("session_id" = String, Path), RunsQuery, ForUser),
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
    Asked { caller, query }: Asked<RunsQuery>,
) -> Result<Json<Vec<RunPreview>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
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
    params(("session_id" = String, Path), ("run_id" = RunId, Path), SessionQuery, ForUser),
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
    Asked { caller, query }: Asked<SessionQuery>,
) -> Result<Json<RunSchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    service::find(&app, &scope, &session_id, query.session_type).await?;
    let (run, messages) = runs::reading::get(&app, &scope, run_id)
        .await?
        .filter(|(run, _)| run.session_id == session_id)
        .ok_or_else(|| Problem::not_found(format!("Run with ID {run_id} not found in session {session_id}")))?;
    Ok(Json(RunSchema::new(run, messages)))
}

/// Lists a session's messages, tool messages included, oldest first by default, with cursor pagination.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/messages",
    tag = "Sessions",
    operation_id = "list_session_messages",
    params(("session_id" = String, Path), MessagesQuery, ForUser),
    responses(
        (status = 200, body = Page<SessionMessage>),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn list_session_messages(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Asked { caller, query }: Asked<MessagesQuery>,
) -> Result<Json<Page<SessionMessage>>, Problem> {
    let limit = check_limit(query.limit)?;
    let order = query.sort_order.unwrap_or(SortOrder::Asc);
    let scope = caller.scope();
    let found = service::messages(&app, &scope, &session_id, order, limit, query.cursor.as_deref()).await?;
    Ok(Json(found.map(SessionMessage::from)))
}
