//! Runs as clients get them: the shapes of AgentOS, whose clients work here unmodified.
//!
//! There are two shapes of a run there, and so here: [`RunOutput`] on `/agents/…/runs` (Unix seconds, empty fields left
//! out) and [`RunSchema`] on `/sessions/{id}/runs` (RFC 3339, empty lists kept).

mod listed;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::{ContextRecord, Message, MessageMetrics, Role, Run, RunError, RunId, RunMetrics, RunStatus};
use crate::{agents::Agent, auth::UserId, llm::ToolCall, sessions::SessionId};

pub use listed::{InputMedia, RunPreview, RunSchema};

/// A time on the wire: UTC with `Z`, to the second.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A run, as `POST /agents/{id}/runs` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunOutput {
    pub run_id: RunId,
    /// The run's number in its session, gapless from 1.
    pub seq: i64,
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    pub session_id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The answer, or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[schema(example = "str")]
    pub content_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub model_provider_data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    /// The session's state after the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub session_state: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Unix seconds.
    pub created_at: i64,
    pub status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    pub metrics: RunMetrics,
    /// Always empty: the events of a run are streamed.
    #[schema(value_type = Vec<Object>)]
    pub events: [Value; 0],
    pub messages: Vec<MessageView>,
    pub tools: Vec<ToolExecution>,
    pub input: RunInput,
    /// What the model saw beside the message.
    pub context: ContextRecord,
    /// The run that this one continues in another direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from_run_id: Option<RunId>,
    /// The run that this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regenerated_from: Option<RunId>,
}

/// A run that goes on in the background.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedRun {
    pub run_id: RunId,
    pub session_id: SessionId,
    /// The run's number in its session, gapless from 1.
    pub seq: i64,
    pub status: RunStatus,
}

/// `{}`: it is done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {}

#[derive(Debug, Serialize, ToSchema)]
pub struct RunInput {
    pub input_content: String,
}

/// A message on the wire.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MessageView {
    pub id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Whether the message was said in an earlier run and only shown to the model again.
    pub from_history: bool,
    pub stop_after_tool_call: bool,
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tool_calls: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub tool_args: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub provider_data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MessageMetrics>,
    /// Unix seconds.
    pub created_at: i64,
}

impl MessageView {
    pub fn new(message: Message, from_history: bool) -> Self {
        let (tool_call_id, tool_name, tool_args, tool_call_error) = match message.answers {
            Some(call) => {
                (Some(call.tool_call_id), Some(call.tool_name), Some(call.tool_args), Some(call.tool_call_error))
            }
            None => (None, None, None, None),
        };
        Self {
            id: message.message_id,
            content: message.content,
            reasoning_content: message.reasoning,
            from_history,
            stop_after_tool_call: false,
            role: message.role,
            tool_calls: message.tool_calls.map(|calls| calls.iter().map(function_call).collect()),
            tool_call_id,
            tool_name,
            tool_args,
            tool_call_error,
            provider_data: message.provider_data,
            metrics: message.metrics,
            created_at: message.created_at.timestamp(),
        }
    }

    /// The messages of the run itself.
    pub fn all(messages: Vec<Message>) -> Vec<Self> {
        messages.into_iter().map(|message| Self::new(message, false)).collect()
    }
}

/// OpenAI's form of a call: the arguments are JSON in a string.
fn function_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments.to_string() },
    })
}

/// What a run shows as its content: the answer, or why there is none.
fn answer_or_reason(content: Option<String>, error: Option<&RunError>) -> Option<String> {
    content.or_else(|| error.map(|error| error.message.clone()))
}

/// One execution of a tool, with every key that AgentOS has; those of features that are not here are null.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ToolExecution {
    pub tool_call_id: String,
    pub tool_name: String,
    #[schema(value_type = Object)]
    pub tool_args: Value,
    pub tool_call_error: Option<bool>,
    pub result: Option<String>,
    pub metrics: Option<ToolMetrics>,
    pub child_run_id: Option<Uuid>,
    pub stop_after_tool_call: bool,
    /// Unix seconds.
    pub created_at: i64,
    pub requires_confirmation: Option<bool>,
    pub confirmed: Option<bool>,
    pub confirmation_note: Option<String>,
    pub requires_user_input: Option<bool>,
    #[schema(value_type = Option<Object>)]
    pub user_input_schema: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub user_feedback_schema: Option<Value>,
    pub answered: Option<bool>,
    pub external_execution_required: Option<bool>,
    pub external_execution_silent: Option<bool>,
    pub approval_type: Option<String>,
    pub approval_id: Option<String>,
    pub parent_tool_call_id: Option<String>,
}

/// When a tool ran, in Unix seconds, and for how many seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct ToolMetrics {
    pub start_time: f64,
    pub end_time: f64,
    pub duration: f64,
}

impl ToolExecution {
    pub fn started(call: &ToolCall, at: DateTime<Utc>) -> Self {
        Self {
            tool_call_id: call.id.clone(),
            tool_name: call.name.clone(),
            tool_args: call.arguments.clone(),
            tool_call_error: None,
            result: None,
            metrics: None,
            child_run_id: None,
            stop_after_tool_call: false,
            created_at: at.timestamp(),
            requires_confirmation: None,
            confirmed: None,
            confirmation_note: None,
            requires_user_input: None,
            user_input_schema: None,
            user_feedback_schema: None,
            answered: None,
            external_execution_required: None,
            external_execution_silent: None,
            approval_type: None,
            approval_id: None,
            parent_tool_call_id: None,
        }
    }
}

impl RunOutput {
    /// A stored run, with its own messages or with all that the model saw.
    pub fn new(run: Run, agent: &Agent, messages: Vec<MessageView>) -> Self {
        let (model, model_provider) = run.model.map(|model| (model.id, model.provider)).unzip();
        let provider_data = messages.iter().rev().find_map(|message| message.provider_data.clone());
        Self {
            run_id: run.run_id,
            seq: run.seq,
            agent_id: run.component_id,
            agent_name: Some(agent.name.clone()),
            session_id: run.session_id,
            user_id: run.user_id,
            content: answer_or_reason(run.content, run.error.as_ref()),
            content_type: "str",
            model_provider_data: provider_data,
            model,
            model_provider,
            session_state: run.session_state,
            metadata: run.metadata,
            created_at: run.created_at.timestamp(),
            status: run.status,
            error: run.error,
            metrics: run.metrics,
            events: [],
            messages,
            tools: run.tools,
            input: RunInput { input_content: run.input },
            context: run.context,
            forked_from_run_id: run.forked_from_run_id,
            regenerated_from: run.regenerated_from,
        }
    }
}

/// One event of a stream, for the contract.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "events are written as text")]
pub struct ServerEvent {
    /// The event's index, for `Last-Event-ID`.
    id: Option<String>,
    event: String,
    /// One line of JSON.
    data: String,
}
