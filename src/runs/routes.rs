//! `/agents/{agent_id}/runs`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    model::RunId,
    request::{CreateRun, RunRequest},
    service,
    store::{MAX_RUNS, RunFilter},
    stream::{self, EventSource},
    wire::{MessageView, RunOutput, RunSchema},
};
use crate::{
    app::App,
    auth::{Caller, UserId},
    http::{
        Path, Problem, Query,
        extract::{absent_if_empty, never_empty},
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
/// Without a `session_id` a new conversation begins. A conversation belongs to the `user_id` that began it: to others it
/// does not exist. One that began without a `user_id` belongs to nobody, and anybody may continue it.
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
/// | `RunCompleted` | `content`: the whole answer, `content_type`, `session_state`, `metrics`, `metadata` |
/// | `RunError` instead | `content`: why, `error_type` as in `RunErrorKind` |
/// | `RunCancelled` instead | `reason`: the session was deleted meanwhile |
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/runs",
    tag = "Runs",
    operation_id = "create_run",
    params(("agent_id" = String, Path, description = "The agent's id", example = "assistant")),
    request_body(content(
        (CreateRun = "application/json"),
        (CreateRun = "application/x-www-form-urlencoded"),
        (CreateRun = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "The run has ended, or its events follow", content(
            (RunOutput = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 408, description = "The body did not arrive in time", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The session is one of a team or a workflow", body = ProblemDocument, content_type = "application/problem+json"),
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
    RunRequest { run, stream, is_form }: RunRequest,
) -> Result<Response, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let caller = Caller::claiming(run.user_id.clone());
    let source = (agent.settings.id.clone(), agent.name.clone());
    let handle = service::start(&app, caller, agent, run, stream).await?;
    if stream {
        let (agent_id, agent_name) = source;
        let (run_id, session_id) = (handle.claim.run_id, handle.claim.session_id);
        let source = EventSource { agent_id, agent_name, run_id, session_id };
        return Ok(stream::respond(source, handle.events.read_from(0)));
    }
    let output = handle.outcome.await.map_err(|_| anyhow::anyhow!("the run's task is gone"))??;
    service::answer(output, is_form).map(|output| Json(output).into_response())
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
    let runs = service::list(&app, &scope, &query.session_id, &filter).await?;
    Ok(Json(runs.into_iter().map(|(run, messages)| RunSchema::new(run, messages)).collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetRunQuery {
    /// Not needed; where given, the run has to be of this session.
    #[serde(default, deserialize_with = "absent_if_empty")]
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
    let (run, messages) = service::get(&app, &scope, run_id)
        .await?
        .filter(|(run, _)| run.component_id == agent.settings.id)
        .filter(|(run, _)| query.session_id.is_none_or(|wanted| wanted == run.session_id))
        .ok_or_else(|| Problem::not_found("Run not found"))?;
    Ok(Json(RunOutput::new(run, &agent, MessageView::all(messages))))
}
