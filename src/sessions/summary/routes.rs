//! `/sessions/{session_id}/summarize`, `/summaries` and `/context`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    model::{Summarized, SummaryList},
    service,
};
use crate::{
    agents::Agent,
    app::App,
    auth::{Caller, Scope, UserId},
    http::{
        Path, Problem, Query,
        extract::{absent_if_empty, never_empty},
        paging::PageRequest,
        problem::ProblemDocument,
        refusals::{NotThere, ParametersRefused, Unavailable},
    },
    runs::context::view::{self, ContextView},
    sessions::{self, SessionId},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummarizeQuery {
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    user_id: Option<UserId>,
    /// The agent whose summary manager does it; absent: the one that the session began with.
    #[serde(default, deserialize_with = "absent_if_empty")]
    agent_id: Option<String>,
    /// How many of the newest runs stay out of the summary, word for word.
    #[param(minimum = 0, maximum = 1000, default = 0)]
    keep_runs: Option<u32>,
}

const MAX_KEPT_RUNS: u32 = 1_000;

/// Summarizes a session now.
///
/// Takes the runs that the summary does not cover yet into it, and answers when that is done. In later prompts the summary
/// stands in their place, for agents that show summaries; the runs themselves stay as they are.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/summarize",
    tag = "Sessions",
    operation_id = "summarize_session",
    params(("session_id" = String, Path), SummarizeQuery),
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
    Query(query): Query<SummarizeQuery>,
) -> Result<Json<Summarized>, Problem> {
    let scope = Caller::claiming(query.user_id).scope();
    let keep_runs = query.keep_runs.unwrap_or(0);
    if keep_runs > MAX_KEPT_RUNS {
        return Err(Problem::invalid("keep_runs", format!("is {keep_runs}; use at most {MAX_KEPT_RUNS}")));
    }
    let agent = agent_of(&app, &scope, &session_id, query.agent_id.as_deref()).await?;
    service::summarize(&app, &scope, &session_id, &agent, keep_runs).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSummariesQuery {
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    user_id: Option<UserId>,
    /// Only versions that cover less than this: `next_before` of the page before.
    before: Option<i64>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Lists the versions of a session's summary, the newest first.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/summaries",
    tag = "Sessions",
    operation_id = "list_session_summaries",
    params(("session_id" = String, Path), ListSummariesQuery),
    responses((status = 200, body = SummaryList), NotThere, ParametersRefused, Unavailable)
)]
pub async fn list_session_summaries(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<ListSummariesQuery>,
) -> Result<Json<SummaryList>, Problem> {
    let scope = Caller::claiming(query.user_id).scope();
    let limit = PageRequest::new(None, query.limit)?.limit();
    service::versions(&app, &scope, &session_id, query.before, limit).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ContextQuery {
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    user_id: Option<UserId>,
    /// The agent that would be run; absent: the one that the session began with.
    #[serde(default, deserialize_with = "absent_if_empty")]
    agent_id: Option<String>,
    /// What would be said to it.
    #[serde(default)]
    message: String,
}

/// Shows what the model would see in the next run, with the tokens of each part, without calling it.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/context",
    tag = "Sessions",
    operation_id = "get_session_context",
    params(("session_id" = String, Path), ContextQuery),
    responses((status = 200, body = ContextView), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_session_context(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<ContextQuery>,
) -> Result<Json<ContextView>, Problem> {
    let scope = Caller::claiming(query.user_id).scope();
    let agent = agent_of(&app, &scope, &session_id, query.agent_id.as_deref()).await?;
    view::of_next_run(&app, &scope, &session_id, &agent, &query.message).await.map(Json)
}

/// The agent that is asked for, or that of the session.
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
    app.agents.get(id)
}
