//! Runs in responses: the AgentOS shapes, so that AgentOS clients work unmodified.
//!
//! AgentOS has two shapes of a run: [`RunOutput`] on `/agents/…/runs` (Unix seconds, empty fields left out) and
//! [`RunSchema`] on `/sessions/{id}/runs` (RFC 3339, empty lists kept).

mod listed;
mod tools;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    agents::Agent,
    engine::Outcome,
    model::{
        ContextRecord, Message, MessageMetrics, Role, Run, RunError, RunId, RunMetrics, RunStatus, SessionId, ToolCall,
        UserId,
    },
};

pub use self::{
    listed::{RunPreview, RunSchema},
    tools::ToolExecutionView,
};

/// A time on the wire: UTC with `Z`, to the second.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A run, as `POST /agents/{id}/runs` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunOutput {
    pub run_id: RunId,
    /// The run's number in its session, assigned from 1 without gaps.
    pub seq: i64,
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    pub session_id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The answer, or the reason why there is none.
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
    pub tools: Vec<ToolExecutionView>,
    pub input: RunInput,
    /// What was put into the prompt besides the message, and why.
    pub context: ContextRecord,
    /// The run from which this one continues with new input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from_run_id: Option<RunId>,
    /// The run that this one answers again, or resumes after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regenerated_from: Option<RunId>,
}

/// An accepted background run.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedRun {
    pub run_id: RunId,
    pub session_id: SessionId,
    /// The run's number in its session, assigned from 1 without gaps.
    pub seq: i64,
    pub status: RunStatus,
}

/// An empty object: the action succeeded.
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
    /// Whether the message is from an earlier run and was shown to the model as history.
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

/// A tool call in OpenAI's format: the arguments are JSON in a string.
fn function_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments.to_string() },
    })
}

/// The content of a run: the answer, or the reason why there is none.
fn answer_or_reason(content: Option<String>, error: Option<&RunError>) -> Option<String> {
    content.or_else(|| error.map(|error| error.message.clone()))
}

impl RunOutput {
    /// A run that has just ended, with all that the model saw.
    pub fn of_outcome(outcome: Outcome, agent: &Agent) -> Self {
        let Outcome { run, system, history, said } = outcome;
        let system = system.map(|text| Message::new(Role::System, Some(text), run.created_at));
        let messages = (system.into_iter().map(|message| MessageView::new(message, false)))
            .chain(history.into_iter().map(|message| MessageView::new(message, true)))
            .chain(MessageView::all(said))
            .collect();
        Self::new(run, agent, messages)
    }

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
            tools: run.tools.into_iter().map(Into::into).collect(),
            input: RunInput { input_content: run.input },
            context: run.context,
            forked_from_run_id: run.forked_from_run_id,
            regenerated_from: run.regenerated_from,
        }
    }
}

/// One event of a stream, for the `OpenAPI` contract.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "events are written as text")]
pub struct ServerEvent {
    /// The event's index, for `Last-Event-ID`.
    id: Option<String>,
    event: String,
    /// One line of JSON.
    data: String,
}
