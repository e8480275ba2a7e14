//! Resuming a stream: `GET …/events` with `Last-Event-ID`, and the wire's `POST …/resume`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{encode::EventSource, stream};
use crate::{
    api::{
        Asked, ForUser, Path, Problem,
        extract::absent_if_empty,
        forms::{Fields, FormOrJson},
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    model::{Caller, ErrorKind, Run, RunId, SessionId, UserId},
    processes::reader::{Followed, Reader},
    runs::reading,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Optional. If given, the run must belong to this session.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(value_type = Option<String>, max_length = 255)]
    session_id: Option<SessionId>,
    /// The index of the last event that the client has, for clients that cannot send `Last-Event-ID`.
    #[param(minimum = -1)]
    last_event_id: Option<i32>,
}

/// Streams a run's events, from the beginning or after `Last-Event-ID`.
///
/// Works on any server, while the run is running and for one day afterwards. If the run was not streamed, or its events
/// have expired, the outcome is sent instead. If the run has ended and the client has its last event, the answer is
/// 204, at which a browser's `EventSource` stops.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/runs/{run_id}/events",
    tag = "Runs",
    operation_id = "stream_run_events",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("run_id" = RunId, Path),
        EventsQuery, ForUser,
        ("Last-Event-ID" = Option<i32>, Header, description = "The index of the last event that is known", minimum = -1),
    ),
    responses(
        (status = 200, description = "The events that follow", content_type = "text/event-stream", body = super::wire::ServerEvent),
        (status = 204, description = "The run has ended and its last event is known: no more will follow, so do not ask again"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn stream_run_events(
    State(app): State<Arc<App>>,
    Path((agent_id, run_id)): Path<(String, RunId)>,
    Asked { caller, query }: Asked<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Validated even if the header overrides it.
    first_unknown(query.last_event_id)?;
    let last = match headers.get("last-event-id") {
        Some(id) => Some(read_index(id.to_str().unwrap_or_default())?),
        None => query.last_event_id,
    };
    let scope = caller.scope();
    let run = reading::find(&app, &scope, &agent_id, run_id, query.session_id.as_ref()).await?;
    let next = first_unknown(last)?;
    let source = source(&app, &run, &agent_id)?;
    let reader = Reader::new(&app, scope, followed(&run), None, next);
    // A browser's `EventSource` reconnects when a stream ends, until it gets a 204.
    if next > 0 && reader.is_exhausted(&run).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(stream::respond(source, reader))
}

/// Where to resume the stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRun {
    /// The index of the last event that the client has. Default: stream from the beginning.
    #[serde(default)]
    #[schema(minimum = -1)]
    last_event_index: Option<i32>,
    #[serde(default)]
    session_id: Option<SessionId>,
    #[serde(default)]
    user_id: Option<UserId>,
}

impl Fields for ResumeRun {
    const FIELDS: &'static [&'static str] = &["last_event_index"];
    const TEXT: &'static [&'static str] = &["session_id", "user_id"];
}

/// Resumes a run's stream, in the form that AgentOS clients use.
///
/// The first frame says what follows. `catch_up`: the missed events, then a frame `subscribed`, then live events.
/// `replay`: the run has ended, and its events follow. For an unknown run, JSON requests get 404, and forms a stream
/// with a single `error`.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/runs/{run_id}/resume",
    tag = "Runs",
    operation_id = "resume_run",
    params(("agent_id" = String, Path, description = "The agent's id", example = "assistant"), ("run_id" = RunId, Path)),
    request_body(content(
        (ResumeRun = "application/json"),
        (ResumeRun = "application/x-www-form-urlencoded"),
        (ResumeRun = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "The events that follow", content_type = "text/event-stream", body = super::wire::ServerEvent),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn resume_run(
    State(app): State<Arc<App>>,
    Path((agent_id, run_id)): Path<(String, RunId)>,
    caller: Caller,
    FormOrJson { value: resume, is_form, .. }: FormOrJson<ResumeRun>,
) -> Result<Response, Problem> {
    let scope = caller.acting_for(resume.user_id, "/user_id")?.scope();
    let run = match reading::find(&app, &scope, &agent_id, run_id, resume.session_id.as_ref()).await {
        Err(problem) if is_form && problem.kind() == ErrorKind::NotFound => {
            let error = format!("Run {run_id} not found in buffer or database");
            return Ok(stream::respond_with_error(json!({"event": "error", "error": error})));
        }
        found => found?,
    };
    let next = first_unknown(resume.last_event_index)?;
    let source = source(&app, &run, &agent_id)?;
    let follower = Reader::new(&app, scope, followed(&run), None, next);
    let count = follower.count().await?;
    if run.status.is_final() {
        let frame = json!({
            "event": "replay", "run_id": run_id, "status": run.status, "total_events": (count - next).max(0),
            "total_buffered": count, "last_event_index_requested": resume.last_event_index,
            "message": "The run has ended; its events follow.",
        });
        return Ok(stream::respond_after(("replay", frame), source, follower));
    }
    let catch_up = json!({
        "event": "catch_up", "run_id": run_id, "status": "running", "missed_events": (count - next).max(0),
        "current_event_count": count, "message": "What was missed follows.",
    });
    let subscribed = json!({
        "event": "subscribed", "run_id": run_id, "status": "running", "current_event_count": count,
        "message": "What follows happens now.",
    });
    Ok(stream::respond_catching_up(("catch_up", catch_up), count, ("subscribed", subscribed), source, follower))
}

fn source(app: &App, run: &Run, agent_id: &str) -> Result<EventSource, Problem> {
    Ok(EventSource::new(&*app.agents.get(agent_id)?, &followed(run), true))
}

fn followed(run: &Run) -> Followed {
    Followed { session_id: run.session_id.clone(), seq: run.seq, run_id: run.run_id }
}

fn read_index(text: &str) -> Result<i32, Problem> {
    text.trim().parse().map_err(|_| {
        Problem::invalid("Last-Event-ID", "is no index; give the `id` of the last event that you have, or none at all")
    })
}

fn first_unknown(last: Option<i32>) -> Result<i32, Problem> {
    match last {
        None => Ok(0),
        // AgentOS clients start with -1.
        Some(last) if last >= -1 => Ok(last.saturating_add(1)),
        Some(last) => Err(Problem::invalid("/last_event_index", format!("is {last}; indexes begin with 0"))),
    }
}
