//! `/agents/{agent_id}/runs`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    cancelling,
    encode::EventSource,
    following::Follower,
    model::{RunId, RunStatus},
    reading,
    request::{self, CreateRun},
    service::{self, Start, Started},
    store::{MAX_RUNS, RunFilter},
    stream,
    wire::{AcceptedRun, Done, MessageView, RunOutput, RunSchema, ServerEvent},
};
use crate::{
    app::App,
    auth::{Caller, Scope, UserId},
    http::{
        NoQuery, Path, Problem, Query,
        extract::{absent_if_empty, never_empty},
        forms::FormOrJson,
        idempotency::{Attempt, IdempotencyKey, REPLAYED},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    sessions::{self, SessionId, request::parse_statuses},
};

/// Runs an agent on a message.
///
/// The agent sees the conversation so far. The run is stored before the model is called, and ends by itself: a client
/// that goes away can read it later. JSON requests are answered with JSON unless `stream` is true; forms, as sent by
/// AgentOS clients, with Server-Sent Events unless `stream` is false.
///
/// Without a `session_id` a new conversation begins, unless the agent has one of its own. A conversation belongs to the
/// `user_id` that began it: to others it does not exist. One that began without a `user_id` belongs to nobody, and anybody
/// may continue it.
///
/// Runs of a session are executed one at a time, in the order in which they were accepted; `on_busy` says what else a
/// busy session may mean. With `background` nobody has to wait: the run is polled, streamed or cancelled by its id, and
/// survives the death of its server.
///
/// An event is `id:` its index, `event:` its name and `data:` one line of JSON, with `created_at` (Unix seconds),
/// `event`, `agent_id`, `agent_name`, `run_id`, `session_id`, `nested_depth` and, in this order:
///
/// | event | its own fields |
/// |---|---|
/// | `RunStarted` | `model`, `model_provider` |
/// | `ModelRequestStarted` | `model`, `model_provider`; once for each call of the model |
/// | `RunContent` | `content`: the next piece of the answer; `content_type`, `reasoning_content` |
/// | `ModelRequestCompleted` | `model`, `model_provider`, `time_to_first_token` and the tokens |
/// | `ToolCallStarted` | `tool`: the call |
/// | `ToolCallCompleted` | `tool` with its `result`, `content`: a sentence about it |
/// | `ToolCallError` | `tool`, `error` |
/// | `RunContentCompleted` | none |
/// | `SessionSummaryStarted` | none; with `wait_for_background`, where the agent keeps summaries |
/// | `SessionSummaryCompleted` | `session_summary`: the one that there is now |
/// | `RunCompleted` | `content`: the whole answer, `content_type`, `session_state`, `metrics`, `metadata` |
/// | `RunError` instead | `content`: why, `error_type` as in `RunErrorKind` |
/// | `RunCancelled` instead | `reason`: it was cancelled, or its session was deleted |
/// | `RunContinued` | in the background, instead of `RunStarted`: another server has taken the run up and says it anew |
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/runs",
    tag = "Runs",
    operation_id = "create_run",
    params(("agent_id" = String, Path, description = "The agent's id", example = "assistant"), IdempotencyKey),
    request_body(content(
        (CreateRun = "application/json"),
        (CreateRun = "application/x-www-form-urlencoded"),
        (CreateRun = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "The run has ended, or its events follow", content(
            (RunOutput = "application/json"),
            (ServerEvent = "text/event-stream"),
        )),
        (status = 202, description = "The run is stored and goes on in the background", body = AcceptedRun),
        (status = 409, description = "The session is one of a team or a workflow, or is busy and `on_busy` is `reject`; `run_id` is the running one", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many runs; try again after `Retry-After`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 502, description = "The model provider failed; the run is kept with its reason. In forms: 200 with status ERROR", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "The model did not answer in time", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn create_run(
    State(app): State<Arc<App>>,
    Path(agent_id): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
    FormOrJson { value: run, is_form, fingerprint }: FormOrJson<CreateRun>,
) -> Result<Response, Problem> {
    request::check(&run, &app.settings)?;
    let agent = app.agents.get(&agent_id)?;
    let start = Start {
        caller: Caller::claiming(run.user_id.clone()),
        agent,
        stream: run.stream.unwrap_or(is_form && !run.is_background()),
        run,
        forked_from_run_id: None,
        regenerated_from: None,
        continuation: None,
    };
    let attempt = Attempt::new(&format!("/agents/{agent_id}/runs"), &headers, &fingerprint)?;
    begin(&app, start, is_form, attempt).await
}

/// Starts a run, once under its `Idempotency-Key`, and answers in the way that was asked for. Who may start a run may
/// hear of it, also where the session is nobody's.
pub(super) async fn begin(
    app: &Arc<App>,
    start: Start,
    is_form: bool,
    attempt: Option<Attempt>,
) -> Result<Response, Problem> {
    let agent = start.agent.clone();
    let (stream, background) = (start.stream, start.run.is_background());
    match service::start(app, start, attempt).await? {
        Started::New(handle) if stream => {
            let source = EventSource::new(&agent, handle.run_id, &handle.session_id, background);
            Ok(stream::respond(Follower::new(app, Scope::All, handle.seq, source, Some(handle.events), 0)))
        }
        Started::New(handle) if background => Ok(accepted(handle.run_id, handle.session_id, handle.seq)),
        Started::New(handle) => {
            let output = handle.outcome.await.map_err(|_| anyhow::anyhow!("the run's task is gone"))??;
            reading::answer(output, is_form).map(|output| Json(output).into_response())
        }
        Started::Repeated(session_id, seq) => {
            let run = reading::find_repeated(app, &session_id, seq).await?;
            let mut response = if stream {
                let source = EventSource::new(&agent, run.run_id, &session_id, background);
                stream::respond(Follower::new(app, Scope::All, seq, source, None, 0))
            } else if background {
                accepted(run.run_id, session_id, seq)
            } else {
                let output = reading::wait_for_end(app, &agent, &session_id, seq).await?;
                let answer = reading::answer(output, is_form).map_err(Problem::replayed);
                answer.map_or_else(IntoResponse::into_response, |output| Json(output).into_response())
            };
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

fn accepted(run_id: RunId, session_id: SessionId, seq: i64) -> Response {
    let accepted = AcceptedRun { run_id, session_id, seq, status: RunStatus::Pending };
    (StatusCode::ACCEPTED, Json(accepted)).into_response()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRunsQuery {
    session_id: SessionId,
    /// Only runs with this status.
    #[serde(default, deserialize_with = "absent_if_empty")]
    status: Option<String>,
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    user_id: Option<UserId>,
}

/// Lists an agent's runs on a session, oldest first: the newest 1,000.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/runs",
    tag = "Runs",
    operation_id = "list_runs",
    params(("agent_id" = String, Path, description = "The agent's id", example = "assistant"), ListRunsQuery),
    responses(
        (status = 200, body = Vec<RunSchema>),
        (status = 400, description = "There is no such status", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn list_runs(
    State(app): State<Arc<App>>,
    Path(agent_id): Path<String>,
    Query(query): Query<ListRunsQuery>,
) -> Result<Json<Vec<RunSchema>>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let filter = RunFilter {
        component_id: Some(agent.settings.id.clone()),
        statuses: parse_statuses(query.status.as_slice())?,
        limit: i64::from(MAX_RUNS),
        ..RunFilter::default()
    };
    let scope = Caller::claiming(query.user_id).scope();
    sessions::service::find(&app, &scope, &query.session_id, None).await?;
    let runs = reading::list(&app, &scope, &query.session_id, &filter).await?;
    Ok(Json(runs.into_iter().map(|(run, messages)| RunSchema::new(run, messages)).collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetRunQuery {
    /// Not needed; where given, the run has to be of this session.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(value_type = Option<String>, max_length = 255)]
    session_id: Option<SessionId>,
    /// Another user's run is not found.
    #[serde(default, deserialize_with = "never_empty")]
    user_id: Option<UserId>,
}

/// Shows a run, also while it is running.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/runs/{run_id}",
    tag = "Runs",
    operation_id = "get_run",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("run_id" = RunId, Path),
        GetRunQuery,
    ),
    responses(
        (status = 200, body = RunOutput),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn get_run(
    State(app): State<Arc<App>>,
    Path((agent_id, run_id)): Path<(String, RunId)>,
    Query(query): Query<GetRunQuery>,
) -> Result<Json<RunOutput>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let scope = Caller::claiming(query.user_id).scope();
    let run = reading::find(&app, &scope, &agent_id, run_id, query.session_id.as_ref()).await?;
    let messages = reading::messages(&app, &scope, &run).await?;
    Ok(Json(RunOutput::new(run, &agent, MessageView::all(messages))))
}

/// Ends a run early, wherever it is executed. What was said so far is kept, with status `CANCELLED`.
///
/// A run that was cancelled before is as it should be. The body may be left out; a form, which comes from a client written
/// for AgentOS, is answered as there: with 200, whether or not there was anything to cancel.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/runs/{run_id}/cancel",
    tag = "Runs",
    operation_id = "cancel_run",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("run_id" = RunId, Path),
        GetRunQuery,
    ),
    responses(
        (status = 200, description = "It ends within a second", body = Done),
        (status = 409, description = "It has ended already, and was not cancelled", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn cancel_run(
    State(app): State<Arc<App>>,
    Path((agent_id, run_id)): Path<(String, RunId)>,
    Query(query): Query<GetRunQuery>,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let scope = Caller::claiming(query.user_id).scope();
    let cancelled = async {
        let run = reading::find(&app, &scope, &agent_id, run_id, query.session_id.as_ref()).await?;
        cancelling::cancel(&app, &scope, &run).await
    };
    match cancelled.await {
        Err(problem) if problem.status().is_client_error() && is_form(&headers) => {
            tracing::info!(run.id = %run_id, "A run was to be cancelled that is not there or has ended.");
        }
        cancelled => cancelled?,
    }
    Ok(Json(Done {}))
}

fn is_form(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    ["application/x-www-form-urlencoded", "multipart/form-data"].iter().any(|form| media.starts_with(form))
}
