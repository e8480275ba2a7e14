//! Copies of whole sessions: forks, exports, imports.

use std::sync::Arc;

use axum::{
    Json,
    body::Body as HttpBody,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    app::App,
    auth::Caller,
    http::{
        Body, Path, Problem, Query,
        conditional::Tagged,
        discovery::check_database,
        extract::media_type,
        idempotency::{Claimed, IdempotencyKey},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    sessions::{
        SessionId, SessionType, import,
        request::{AgentForkQuery, ForkBody, ImportQuery, SessionQuery},
        service::{self, Fork, MessagesPage},
        upload::Upload,
        wire::{ForkedSession, ImportedSession, SessionDetail},
    },
};

/// Copies a session with its runs and messages, all or up to one run, to go on in another direction.
///
/// The copy has ids of its own; the source stays as it is. Runs that have not ended are not copied.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/fork",
    tag = "Sessions",
    operation_id = "fork_session",
    params(("session_id" = String, Path), SessionQuery, IdempotencyKey),
    request_body = Option<ForkBody>,
    responses(
        (status = 201, description = "The copy", body = SessionDetail, headers(("ETag" = String, description = "The version"))),
        (status = 409, description = "The id is in use, the run has not ended, or the first request with this key is still carried out", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn fork_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
    claimed: Claimed,
    body: Option<Body<ForkBody>>,
) -> Result<Tagged<(StatusCode, Json<SessionDetail>)>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let fork = body.map(|Body(body)| Fork::from(body)).unwrap_or_default();
    let copy_id = service::fork(&app, &scope, &session_id, query.session_type, fork, &claimed).await?;
    let copy = service::get(&app, &scope, &copy_id, None, MessagesPage::default()).await?;
    Ok(copy.map(|detail| (StatusCode::CREATED, Json(detail))))
}

/// Copies a session of an agent, as AgentOS clients ask for it.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/sessions/{session_id}/fork",
    tag = "Sessions",
    operation_id = "fork_agent_session",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("session_id" = String, Path),
        AgentForkQuery,
        IdempotencyKey,
    ),
    responses(
        (status = 200, description = "The copy's id", body = ForkedSession),
        (status = 400, description = "No run of the session has ended yet", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The first request with this key is still carried out", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn fork_agent_session(
    State(app): State<Arc<App>>,
    Path((agent_id, session_id)): Path<(String, SessionId)>,
    Query(query): Query<AgentForkQuery>,
    claimed: Claimed,
) -> Result<Json<ForkedSession>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let scope = Caller::claiming(query.user_id).scope();
    let session = service::find(&app, &scope, &session_id, Some(SessionType::Agent)).await?;
    if session.component_id.is_some_and(|component_id| component_id != agent.settings.id) {
        return Err(Problem::not_found(format!("Session with id '{session_id}' is none of agent '{agent_id}'")));
    }
    let copy_id = service::fork(&app, &scope, &session_id, Some(SessionType::Agent), Fork::default(), &claimed).await?;
    Ok(Json(ForkedSession { session_id: copy_id, forked_from_session_id: session_id }))
}

/// Writes out a session as lines of JSON: the session, what it cost, its runs each followed by its messages and the
/// version of the summary that ends with it, an end.
///
/// The last line has `"kind": "end"`; without it the export broke off. Runs that have not ended are left out.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/export",
    tag = "Sessions",
    operation_id = "export_session",
    params(("session_id" = String, Path), SessionQuery),
    responses(
        (status = 200, description = "One JSON object on each line", body = String, content_type = "application/x-ndjson"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn export_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
) -> Result<Response, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let lines = service::export(&app, scope, session_id, query.session_type).await?;
    let lines = futures::TryStreamExt::map_err(lines, |problem| {
        tracing::error!(cause = problem.detail(), "An export broke off.");
        std::io::Error::other("the export broke off")
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, HttpBody::from_stream(lines)).into_response())
}

/// Reads in a session that was exported. What is there already, and the same, is left alone.
///
/// An export may have any size, and an import may be repeated. With an `Idempotency-Key` the body has at most 64 MiB.
#[utoipa::path(
    post,
    path = "/sessions/import",
    tag = "Sessions",
    operation_id = "import_session",
    params(ImportQuery, IdempotencyKey),
    request_body(content = String, content_type = "application/x-ndjson", description = "What the export answered with"),
    responses(
        (status = 200, description = "It is there already", body = ImportedSession),
        (status = 201, description = "It is stored", body = ImportedSession),
        (status = 409, description = "The id is in use by another session, or a run is", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        Unavailable,
    )
)]
pub async fn import_session(
    State(app): State<Arc<App>>,
    Query(query): Query<ImportQuery>,
    claimed: Claimed,
    request: Request,
) -> Result<(StatusCode, Json<ImportedSession>), Problem> {
    if media_type(&request).is_none_or(|media| media != "application/x-ndjson") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is no export; send it with Content-Type: application/x-ndjson",
        ));
    }
    let settings = &app.settings;
    let patience = settings.server.request_timeout;
    let upload = Upload::receive(request.into_body(), settings.sessions.max_import_bytes, patience).await?;
    let reading = tokio::task::spawn_blocking(move || import::read(upload));
    let transcript = reading.await.map_err(|_| anyhow::anyhow!("reading an export panicked"))??;
    let imported = service::import(&app, &Caller::claiming(query.user_id), transcript, &claimed).await?;
    let status = if imported.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(imported.into())))
}
