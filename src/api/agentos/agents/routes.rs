//! `/agents`.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::wire::AgentResponse;
use crate::{
    api::{Path, Problem, refusals::NotThere},
    app::App,
};

/// Lists the agents of this installation, in the order of the settings.
#[utoipa::path(
    get,
    path = "/agents",
    tag = "Agents",
    operation_id = "list_agents",
    responses((status = 200, description = "All of them, in the order of the settings", body = Vec<AgentResponse>))
)]
pub async fn list_agents(State(app): State<Arc<App>>) -> Json<Vec<AgentResponse>> {
    Json(app.agents.iter().map(|agent| AgentResponse::from(&**agent)).collect())
}

/// Shows one agent.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}",
    tag = "Agents",
    operation_id = "get_agent",
    params(("agent_id" = String, Path, description = "The agent's id", example = "assistant")),
    responses(
        (status = 200, body = AgentResponse),
        NotThere,
    )
)]
pub async fn get_agent(
    State(app): State<Arc<App>>,
    Path(agent_id): Path<String>,
) -> Result<Json<AgentResponse>, Problem> {
    let agent = app.agents.get(&agent_id)?;
    Ok(Json(AgentResponse::from(&*agent)))
}
