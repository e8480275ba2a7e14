//! Agents in responses.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{agents::Agent, tools};

/// The id of the only database on the wire.
pub const DATABASE_ID: &str = "colloquy";

/// An agent. Parts that the agent does not use are absent.
#[expect(clippy::struct_excessive_bools, reason = "the shape of the wire")]
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentResponse {
    #[schema(example = "assistant")]
    pub id: String,
    pub name: String,
    pub db_id: &'static str,
    pub filesystem: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub is_factory: bool,
    pub model: AgentModel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<AgentTools>,
    pub sessions: AgentSessions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<AgentMemory>,
    pub reasoning: AgentReasoning,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_tools: Option<DefaultTools>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_message: Option<SystemMessage>,
    pub is_component: bool,
    pub sandboxed: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentModel {
    /// The same as `model`. AgentOS clients read one of the two in lists and the other in details.
    #[schema(example = "gpt-4o-mini")]
    pub id: String,
    /// The model's name in the settings.
    pub name: String,
    #[schema(example = "gpt-4o-mini")]
    pub model: String,
    #[schema(example = "OpenAI")]
    pub provider: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentTools {
    pub tools: Vec<ToolDefinition>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ToolDefinition {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON Schema of the arguments.
    #[schema(value_type = Object)]
    pub parameters: Value,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentSessions {
    pub session_table: &'static str,
    pub add_history_to_context: bool,
    pub num_history_runs: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_session_summaries: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentMemory {
    pub update_memory_on_run: bool,
    pub memory_table: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentReasoning {
    pub reasoning: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DefaultTools {
    pub read_chat_history: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SystemMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

impl From<&Agent> for AgentResponse {
    fn from(agent: &Agent) -> Self {
        let settings = &agent.settings;
        let definitions: Vec<ToolDefinition> = tools::specs(settings)
            .into_iter()
            .map(|spec| ToolDefinition { name: spec.name, description: spec.description, parameters: spec.parameters })
            .collect();
        let says_something = settings.description.is_some() || settings.instructions.is_some();
        Self {
            id: settings.id.clone(),
            name: agent.name.clone(),
            db_id: DATABASE_ID,
            filesystem: false,
            description: settings.description.clone(),
            is_factory: false,
            model: AgentModel {
                id: agent.model_info.id.clone(),
                name: agent.model.clone(),
                model: agent.model_info.id.clone(),
                provider: agent.model_info.provider.clone(),
            },
            tools: (!definitions.is_empty()).then_some(AgentTools { tools: definitions }),
            sessions: AgentSessions {
                session_table: "sessions",
                add_history_to_context: settings.add_history_to_context,
                num_history_runs: settings.num_history_runs,
                enable_session_summaries: settings.enable_session_summaries,
            },
            memory: settings
                .update_memory_on_run
                .then_some(AgentMemory { update_memory_on_run: true, memory_table: "memories" }),
            reasoning: AgentReasoning { reasoning: false },
            default_tools: settings.read_chat_history.then_some(DefaultTools { read_chat_history: true }),
            system_message: says_something.then(|| SystemMessage {
                description: settings.description.clone(),
                instructions: settings.instructions.clone(),
            }),
            is_component: false,
            sandboxed: false,
        }
    }
}
