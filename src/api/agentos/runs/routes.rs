//! `/agents/{agent_id}/runs`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    encode::EventSource,
    request::CreateRun,
    stream,
    wire::{AcceptedRun, Done, MessageView, RunOutput, RunSchema, ServerEvent},
};
use crate::{
    api::{
        Asked, ForUser, NoQuery, Path, Problem,
        agentos::sessions::request::parse_statuses,
        extract::absent_if_empty,
        forms::{self, FormOrJson},
        idempotency::{self, IdempotencyKey, REPLAYED},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    engine::{
        self, cancelling,
        start::{Start, Started},
    },
    idempotency::Attempt,
    model::{Caller, Error, ErrorKind, RunErrorKind, RunId, RunStatus, Scope, SessionId},
    processes::reader::{Followed, Reader},
    runs::{
        reading,
        store::{MAX_RUNS, RunFilter},
    },
    sessions,
};

/// Runs an agent on a message.
///
/// The agent sees the conversation so far. The run is stored before the model is called and does not depend on the
/// connection: a client that disconnects can read it later. JSON requests are answered with JSON unless `stream` is
/// true. Forms, which AgentOS clients send, are answered with Server-Sent Events unless `stream` is false or
/// `background` is true.
///
/// Without a `session_id` a new conversation starts, unless the agent's settings name a session. A conversation belongs
/// to the `user_id` that started it; for other users it does not exist. A conversation that was started without a
/// `user_id` has no owner, and anyone may continue it.
///
/// Runs of a session are executed one at a time, in the order of acceptance; `on_busy` selects another behaviour for a
/// busy session. With `background` no client has to wait: the run is polled, streamed or cancelled by its id, and
/// survives a crash of its server.
///
/// An event has `id:` with its index, `event:` with its name and `data:` with one line of JSON, which has `created_at`
/// (Unix seconds), `event`, `agent_id`, `agent_name`, `run_id`, `session_id`, `nested_depth` and the event's own
/// fields; in a background run, and in a stream that is picked up again, also `event_index`. The events come in this
/// order:
///
/// | event | own fields |
/// |---|---|
/// | `RunStarted` | `model`, `model_provider` |
/// | `ModelRequestStarted` | `model`, `model_provider`; once per model call |
/// | `RunContent` | `content`: the next piece of the answer; `content_type`, `reasoning_content` |
/// | `ModelRequestCompleted` | `model`, `model_provider`, `time_to_first_token` and the tokens |
/// | `ToolCallStarted` | `tool`: the call |
/// | `ToolCallCompleted` | `tool` with its `result`, `content`: a sentence about the call |
/// | `ToolCallError` | `tool`, `error` |
/// | `RunContentCompleted` | none |
/// | `MemoryUpdateStarted` | none; only with `wait_for_background`, if the run is learned from |
/// | `MemoryUpdateCompleted` | `memories`: what is known of the user now |
/// | `SessionSummaryStarted` | none; only with `wait_for_background`, if the agent keeps summaries |
/// | `SessionSummaryCompleted` | `session_summary`: the current summary |
/// | `RunCompleted` | `content`: the whole answer, `content_type`, `session_state`, `metrics`, `metadata` |
/// | `RunError` instead | `content`: the reason, `error_type` as in `RunErrorKind` |
/// | `RunCancelled` instead | `reason`: the run was cancelled, or its session was deleted |
/// | `RunContinued` | in the background, instead of `RunStarted`: another server took over and restarts the answer |
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
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    FormOrJson { value: run, is_form, fingerprint }: FormOrJson<CreateRun>,
) -> Result<Response, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let caller = caller.acting_for(run.user_id.clone(), "/user_id")?;
    let attempt = idempotency::attempt(caller.tenant(), &format!("/agents/{agent_id}/runs"), &headers, &fingerprint)?;
    let start = Start { caller, agent, spec: run.into_spec(is_form), forked_from_run_id: None, regenerated_from: None };
    begin(&app, start, is_form, attempt).await
}

/// Starts a run, once per `Idempotency-Key`, and answers in the requested form. Whoever may start a run may follow it,
/// even if the session has no owner.
pub(crate) async fn begin(
    app: &Arc<App>,
    start: Start,
    is_form: bool,
    attempt: Option<Attempt>,
) -> Result<Response, Problem> {
    let agent = start.agent.clone();
    let (stream, background) = (start.spec.delivery.stream, start.spec.delivery.background);
    let tenant = start.caller.tenant().clone();
    let follow = |run: Followed, log| {
        let scope = Scope::System(tenant.clone(), "whoever may start a run may follow it, also in a shared session");
        let source = EventSource::new(&agent, &run, background);
        stream::respond(source, Reader::new(app, scope, run, log, 0))
    };
    match engine::start::start(app, start, attempt).await? {
        Started::New(handle) if stream => {
            let run = Followed { session_id: handle.session_id, seq: handle.seq, run_id: handle.run_id };
            Ok(follow(run, Some(handle.events)))
        }
        Started::New(handle) if background => Ok(accepted(handle.run_id, handle.session_id, handle.seq)),
        Started::New(handle) => {
            let outcome = handle.outcome.await.map_err(|_| anyhow::anyhow!("the run's task is gone"))??;
            answer(RunOutput::of_outcome(outcome, &agent), is_form).map(|output| Json(output).into_response())
        }
        Started::Repeated(session_id, seq) => {
            let run = reading::find_repeated(app, &tenant, &session_id, seq).await?;
            let mut response = if stream {
                follow(Followed { session_id, seq, run_id: run.run_id }, None)
            } else if background {
                accepted(run.run_id, session_id, seq)
            } else {
                let (run, messages) = reading::wait_for_end(app, &tenant, &session_id, seq).await?;
                let output = RunOutput::new(run, &agent, MessageView::all(messages));
                let answer = answer(output, is_form).map_err(Problem::replayed);
                answer.map_or_else(IntoResponse::into_response, |output| Json(output).into_response())
            };
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

/// The answer for a run that ended with an error: a problem document for JSON; for forms the run itself, as in AgentOS.
/// A cancelled run is returned as it is.
fn answer(output: RunOutput, is_form: bool) -> Result<RunOutput, Problem> {
    let Some(error) = output.error.as_ref().filter(|_| !is_form) else { return Ok(output) };
    let kind = match error.kind {
        RunErrorKind::Cancelled => return Ok(output),
        RunErrorKind::ModelProviderError
        | RunErrorKind::ToolLoop
        | RunErrorKind::AnswerTooLong
        | RunErrorKind::Unknown => ErrorKind::ModelFailed,
        RunErrorKind::StateTooLarge => ErrorKind::Invalid,
        RunErrorKind::ModelTimeout | RunErrorKind::DeadlineExceeded => ErrorKind::ModelTimedOut,
        RunErrorKind::Interrupted | RunErrorKind::NotSaved | RunErrorKind::QueueTimeout => ErrorKind::Unavailable,
    };
    let problem = match kind {
        ErrorKind::Unavailable => Error::unavailable(error.message.clone()),
        kind => Error::new(kind, error.message.clone()),
    };
    Err(problem.coded(error.kind.as_str()).about_run(output.run_id).into())
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
}

/// Lists the newest 1,000 runs of an agent in a session, oldest first.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/runs",
    tag = "Runs",
    operation_id = "list_runs",
    params(("agent_id" = String, Path, description = "The agent's id", example = "assistant"), ListRunsQuery, ForUser),
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
    Asked { caller, query }: Asked<ListRunsQuery>,
) -> Result<Json<Vec<RunSchema>>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let filter = RunFilter {
        component_id: Some(agent.settings.id.clone()),
        statuses: parse_statuses(query.status.as_slice())?,
        limit: i64::from(MAX_RUNS),
        ..RunFilter::default()
    };
    let scope = caller.scope();
    sessions::service::find(&app, &scope, &query.session_id, None).await?;
    let runs = reading::list(&app, &scope, &query.session_id, &filter).await?;
    Ok(Json(runs.into_iter().map(|(run, messages)| RunSchema::new(run, messages)).collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetRunQuery {
    /// Optional. If given, the run must belong to this session.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(value_type = Option<String>, max_length = 255)]
    session_id: Option<SessionId>,
}

/// Shows a run, even while it is running.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/runs/{run_id}",
    tag = "Runs",
    operation_id = "get_run",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("run_id" = RunId, Path),
        GetRunQuery, ForUser,
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
    Asked { caller, query }: Asked<GetRunQuery>,
) -> Result<Json<RunOutput>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let scope = caller.scope();
    let run = reading::find(&app, &scope, &agent_id, run_id, query.session_id.as_ref()).await?;
    let messages = reading::messages(&app, &scope, &run).await?;
    Ok(Json(RunOutput::new(run, &agent, MessageView::all(messages))))
}

/// Cancels a run, on whichever server it is executed. The partial answer is kept, with status `CANCELLED`.
///
/// Idempotent: 200 if the run was cancelled before. The body may be left out. A form, which comes from an AgentOS
/// client, is answered as in AgentOS: with 200, whether or not there was a run to cancel.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/runs/{run_id}/cancel",
    tag = "Runs",
    operation_id = "cancel_run",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("run_id" = RunId, Path),
        GetRunQuery, ForUser,
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
    Asked { caller, query }: Asked<GetRunQuery>,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let scope = caller.scope();
    let cancelled: Result<(), Problem> = async {
        let run = reading::find(&app, &scope, &agent_id, run_id, query.session_id.as_ref()).await?;
        Ok(cancelling::cancel(&app, &scope, &run).await?)
    }
    .await;
    match cancelled {
        Err(problem) if problem.status().is_client_error() && forms::is_form(&headers) => {
            tracing::info!(run.id = %run_id, "A run was to be cancelled that is not there or has ended.");
        }
        cancelled => cancelled?,
    }
    Ok(Json(Done {}))
}
