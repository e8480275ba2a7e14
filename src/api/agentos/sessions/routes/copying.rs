//! Copies of whole sessions: forks, exports, imports.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body as HttpBody, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt, stream};

use crate::{
    api::{
        Asked, Body, ForUser, Path, Problem,
        agentos::sessions::{
            request::{AgentForkQuery, ForkBody, ImportQuery, SessionQuery},
            wire::{ForkedSession, ImportedSession, SessionDetail},
        },
        discovery::check_database,
        extract::{self, media_type},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    config::Settings,
    model::{SessionId, SessionType, version::Tagged},
    sessions::{
        import,
        service::{self, Fork, MessagesPage},
        upload::Upload,
    },
    {api::idempotency::IdempotencyKey, idempotency::Claimed},
};

/// Copies a session with its runs and messages, all or up to one run, to continue it in another direction.
///
/// The copy has its own ids; the source does not change. Runs that have not ended are not copied.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/fork",
    tag = "Sessions",
    operation_id = "fork_session",
    params(("session_id" = String, Path), SessionQuery, ForUser, IdempotencyKey),
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
    Asked { caller, query }: Asked<SessionQuery>,
    claimed: Claimed,
    body: Option<Body<ForkBody>>,
) -> Result<Tagged<(StatusCode, Json<SessionDetail>)>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    let fork = body.map(|Body(body)| Fork::from(body)).unwrap_or_default();
    let copy_id = service::fork(&app, &scope, &session_id, query.session_type, fork, &claimed).await?;
    let copy = service::get(&app, &scope, &copy_id, None, MessagesPage::default()).await?;
    Ok(copy.map(|copy| (StatusCode::CREATED, Json(SessionDetail::new(copy, &app.agents)))))
}

/// Copies a session of an agent, in the form that AgentOS clients use.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/sessions/{session_id}/fork",
    tag = "Sessions",
    operation_id = "fork_agent_session",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("session_id" = String, Path),
        AgentForkQuery, ForUser,
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
    Asked { caller, query: _ }: Asked<AgentForkQuery>,
    claimed: Claimed,
) -> Result<Json<ForkedSession>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let scope = caller.scope();
    let session = service::find(&app, &scope, &session_id, Some(SessionType::Agent)).await?;
    if session.component_id.is_some_and(|component_id| component_id != agent.settings.id) {
        return Err(Problem::not_found(format!("Session with id '{session_id}' is none of agent '{agent_id}'")));
    }
    let copy_id = service::fork(&app, &scope, &session_id, Some(SessionType::Agent), Fork::default(), &claimed).await?;
    Ok(Json(ForkedSession { session_id: copy_id, forked_from_session_id: session_id }))
}

/// Exports a session as lines of JSON: the session, its usage, each run followed by its messages and by the summary
/// version that ends with it, and an end line.
///
/// The last line has `"kind": "end"`; without it the export is incomplete. Runs that have not ended are left out.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/export",
    tag = "Sessions",
    operation_id = "export_session",
    params(("session_id" = String, Path), SessionQuery, ForUser),
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
    Asked { caller, query }: Asked<SessionQuery>,
) -> Result<Response, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.scope();
    let lines = service::export(&app, scope, session_id, query.session_type).await?;
    let lines = futures::TryStreamExt::map_err(lines, |problem| {
        tracing::error!(cause = problem.detail(), "An export broke off.");
        std::io::Error::other("the export broke off")
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, HttpBody::from_stream(lines)).into_response())
}

/// Imports an exported session. Idempotent: a session that exists with the same content is left unchanged.
///
/// An export may have any size up to `sessions.max_import_bytes` (default: no limit), and an import may be repeated.
/// With an `Idempotency-Key` the body has at most 64 MiB.
#[utoipa::path(
    post,
    path = "/sessions/import",
    tag = "Sessions",
    operation_id = "import_session",
    params(ImportQuery, ForUser, IdempotencyKey),
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
    Asked { caller, query: _ }: Asked<ImportQuery>,
    claimed: Claimed,
    request: Request,
) -> Result<(StatusCode, Json<ImportedSession>), Problem> {
    if media_type(request.headers()).is_none_or(|media| media != "application/x-ndjson") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is no export; send it with Content-Type: application/x-ndjson",
        ));
    }
    let upload = Upload::receive(pieces(request.into_body(), &app.settings)).await?;
    let reading = tokio::task::spawn_blocking(move || import::read(upload));
    let transcript = reading.await.map_err(|_| anyhow::anyhow!("reading an export panicked"))??;
    let imported = service::import(&app, &caller, transcript, &claimed).await?;
    let status = if imported.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(imported.into())))
}

/// The chunks of an export. Fails if their total exceeds `sessions.max_import_bytes`, or if none arrives within
/// `server.request_timeout`.
fn pieces(body: HttpBody, settings: &Settings) -> impl Stream<Item = Result<Bytes, Problem>> {
    let (most, patience) = (settings.sessions.max_import_bytes, settings.server.request_timeout);
    stream::try_unfold((body.into_data_stream(), 0), move |(mut body, bytes)| async move {
        let piece = tokio::time::timeout(patience, body.next()).await.map_err(|_| extract::body_timed_out())?;
        let Some(piece) = piece else { return Ok(None) };
        let piece = piece.map_err(|error| extract::body_error(&error))?;
        let bytes = bytes + piece.len() as u64;
        if most.is_some_and(|most| bytes > most) {
            let detail = "The export is larger than this server takes; raise sessions.max_import_bytes";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Ok(Some((piece, (body, bytes))))
    })
}
