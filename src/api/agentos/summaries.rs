//! `/sessions/{session_id}/summarize`, `/summaries` and `/context`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    agents::Agent,
    api::{
        Asked, ForUser, Path, Problem,
        extract::absent_if_empty,
        problem::ProblemDocument,
        refusals::{NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    engine::preview::{self, ContextView},
    model::{Scope, SessionId, paging::PageRequest},
    sessions,
    summaries::{
        model::{Summarized, SummaryList},
        service,
    },
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummarizeQuery {
    /// The agent whose summary settings are used. Default: the session's own agent.
    #[serde(default, deserialize_with = "absent_if_empty")]
    agent_id: Option<String>,
    /// How many of the newest runs are not summarized and stay verbatim.
    #[param(minimum = 0, maximum = 1000, default = 0)]
    keep_runs: Option<u32>,
}

const MAX_KEPT_RUNS: u32 = 1_000;

/// Summarizes a session now.
///
/// Folds the runs that the summary does not cover yet into it, and answers when that is done. In later prompts the
/// summary replaces these runs, for agents that put summaries into the prompt. The runs themselves do not change.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/summarize",
    tag = "Sessions",
    operation_id = "summarize_session",
    params(("session_id" = String, Path), SummarizeQuery, ForUser),
    responses(
        (status = 200, body = Summarized),
        (status = 502, description = "The model failed, or wrote nothing that could be used", body = ProblemDocument, content_type = "application/problem+json"),
        NotThere,
        ParametersRefused,
        Unavailable,
    )
)]
pub async fn summarize_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Asked { caller, query }: Asked<SummarizeQuery>,
) -> Result<Json<Summarized>, Problem> {
    let scope = caller.scope();
    let keep_runs = query.keep_runs.unwrap_or(0);
    if keep_runs > MAX_KEPT_RUNS {
        return Err(Problem::invalid("keep_runs", format!("is {keep_runs}; use at most {MAX_KEPT_RUNS}")));
    }
    let agent = agent_of(&app, &scope, &session_id, query.agent_id.as_deref()).await?;
    Ok(Json(service::summarize(&app, &scope, &session_id, &agent, keep_runs).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSummariesQuery {
    /// Only versions whose `through_seq` is below this: the `next_before` of the previous page.
    before: Option<i64>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Lists the versions of a session's summary, newest first.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/summaries",
    tag = "Sessions",
    operation_id = "list_session_summaries",
    params(("session_id" = String, Path), ListSummariesQuery, ForUser),
    responses((status = 200, body = SummaryList), NotThere, ParametersRefused, Unavailable)
)]
pub async fn list_session_summaries(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Asked { caller, query }: Asked<ListSummariesQuery>,
) -> Result<Json<SummaryList>, Problem> {
    let scope = caller.scope();
    let limit = PageRequest::new(None, query.limit)?.limit();
    Ok(Json(service::versions(&app, &scope, &session_id, query.before, limit).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ContextQuery {
    /// The agent that would run. Default: the session's own agent.
    #[serde(default, deserialize_with = "absent_if_empty")]
    agent_id: Option<String>,
    /// The message that the agent would get.
    #[serde(default)]
    message: String,
}

/// Previews the prompt of the next run, with the tokens of each part. The model is not called.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/context",
    tag = "Sessions",
    operation_id = "get_session_context",
    params(("session_id" = String, Path), ContextQuery, ForUser),
    responses((status = 200, body = ContextView), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_session_context(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Asked { caller, query }: Asked<ContextQuery>,
) -> Result<Json<ContextView>, Problem> {
    let scope = caller.scope();
    let agent = agent_of(&app, &scope, &session_id, query.agent_id.as_deref()).await?;
    Ok(Json(preview::of_next_run(&app, &scope, &session_id, &agent, &query.message).await?))
}

/// The requested agent, or else the session's own.
async fn agent_of(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    asked_for: Option<&str>,
) -> Result<Arc<Agent>, Problem> {
    let session = sessions::service::find(app, scope, session_id, None).await?;
    let id = asked_for.or(session.component_id.as_deref()).ok_or_else(|| {
        Problem::invalid("agent_id", "is missing, and the session has not begun with any agent; name one")
    })?;
    Ok(app.agents.get(id)?)
}
