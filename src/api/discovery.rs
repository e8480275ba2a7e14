//! Discovery endpoints for clients: `/`, `/info`, `/config`, `/models`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Problem, agentos::agents::wire::DATABASE_ID};
use crate::{agents::Agent, app::App, model::ModelInfo};

/// The version of AgentOS whose wire is served.
const WIRE_VERSION: &str = "3.1.10";
const TABLES: [&str; 3] = ["sessions", "runs", "memories"];

/// 404 if the named database or table does not exist. AgentOS clients may name them.
pub fn check_database(db_id: Option<&str>, table: Option<&str>) -> Result<(), Problem> {
    if let Some(id) = db_id.filter(|id| *id != DATABASE_ID) {
        return Err(Problem::not_found(format!("No database found with id '{id}'; it is '{DATABASE_ID}'")));
    }
    if let Some(table) = table.filter(|table| !TABLES.contains(table)) {
        return Err(Problem::not_found(format!("No table found with name '{table}'; leave it out")));
    }
    Ok(())
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Root {
    name: String,
    health: &'static str,
    info: &'static str,
    docs: &'static str,
}

/// Lists the entry points of the service.
#[utoipa::path(
    get,
    path = "/",
    tag = "Service",
    operation_id = "get_root",
    responses((status = 200, description = "The way on", body = Root))
)]
pub async fn get_root(State(app): State<Arc<App>>) -> Json<Root> {
    Json(Root { name: app.settings.server.id.clone(), health: "/health", info: "/info", docs: "/docs" })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Info {
    os_id: String,
    name: String,
    /// Colloquy's version.
    os_version: &'static str,
    /// The version of AgentOS whose wire is served.
    agno_version: &'static str,
    agent_count: usize,
    team_count: usize,
    workflow_count: usize,
    #[schema(value_type = Object)]
    mcp: Value,
    #[schema(example = "none")]
    auth_mode: &'static str,
    user_isolation: bool,
}

/// Describes this installation briefly.
#[utoipa::path(
    get,
    path = "/info",
    tag = "Service",
    operation_id = "get_info",
    responses((status = 200, description = "The installation in short", body = Info))
)]
pub async fn get_info(State(app): State<Arc<App>>) -> Json<Info> {
    Json(Info {
        os_id: app.settings.server.id.clone(),
        name: "Colloquy".into(),
        os_version: env!("CARGO_PKG_VERSION"),
        agno_version: WIRE_VERSION,
        agent_count: app.agents.iter().len(),
        team_count: 0,
        workflow_count: 0,
        mcp: json!({ "enabled": false, "path": null, "oauth": null, "tool_run_endpoint": false }),
        auth_mode: "none",
        user_isolation: false,
    })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Config {
    os_id: String,
    name: String,
    description: &'static str,
    available_models: Vec<ModelInfo>,
    databases: [&'static str; 1],
    #[schema(value_type = Object)]
    session: Value,
    #[schema(value_type = Object)]
    metrics: Value,
    #[schema(value_type = Object)]
    memory: Value,
    #[schema(value_type = Object)]
    learning: Value,
    #[schema(value_type = Object)]
    filesystem: Value,
    #[schema(value_type = Object)]
    knowledge: Value,
    #[schema(value_type = Object)]
    evals: Value,
    #[schema(value_type = Object)]
    traces: Value,
    #[schema(value_type = Object)]
    queue: Value,
    agents: Vec<ConfigAgent>,
    #[schema(value_type = Vec<Object>)]
    teams: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    workflows: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    interfaces: [Value; 0],
    #[schema(value_type = Option<Object>)]
    company: Option<Value>,
}

/// An agent in `/config`.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigAgent {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    db_id: &'static str,
    model: ModelInfo,
    sandboxed: bool,
}

impl From<&Agent> for ConfigAgent {
    fn from(agent: &Agent) -> Self {
        Self {
            id: agent.settings.id.clone(),
            name: agent.name.clone(),
            description: agent.settings.description.clone(),
            db_id: DATABASE_ID,
            model: agent.model_info.clone(),
            sandboxed: false,
        }
    }
}

/// Describes this installation in full, in the form that AgentOS clients read.
#[utoipa::path(
    get,
    path = "/config",
    tag = "Service",
    operation_id = "get_config",
    responses((status = 200, description = "The installation in full", body = Config))
)]
pub async fn get_config(State(app): State<Arc<App>>) -> Json<Config> {
    let none = || json!({ "dbs": [] });
    Json(Config {
        os_id: app.settings.server.id.clone(),
        name: "Colloquy".into(),
        description: "Agents that remember, on PostgreSQL alone.",
        available_models: models(&app),
        databases: [DATABASE_ID],
        session: json!({ "dbs": [{
            "db_id": DATABASE_ID,
            "domain_config": { "display_name": "Colloquy" },
            "tables": ["sessions"],
        }] }),
        metrics: none(),
        memory: none(),
        learning: none(),
        filesystem: json!({ "namespaces": [] }),
        knowledge: json!({ "dbs": [], "knowledge_instances": [] }),
        evals: none(),
        traces: none(),
        queue: json!({ "durable": false, "queue_per_session": false }),
        agents: app.agents.iter().map(|agent| ConfigAgent::from(&**agent)).collect(),
        teams: [],
        workflows: [],
        interfaces: [],
        company: None,
    })
}

/// Lists the models that agents may use.
#[utoipa::path(
    get,
    path = "/models",
    tag = "Service",
    operation_id = "list_models",
    responses((status = 200, description = "The models that are configured", body = Vec<ModelInfo>))
)]
pub async fn list_models(State(app): State<Arc<App>>) -> Json<Vec<ModelInfo>> {
    Json(models(&app))
}

fn models(app: &App) -> Vec<ModelInfo> {
    app.models.list().map(|(_, info)| info.clone()).collect()
}
