//! Encoding of events as JSON, in the shapes of the wire.

use serde::Serialize;
use serde_json::{Map, Value};

use super::wire::ToolExecutionView;
use crate::{
    agents::Agent,
    api::agentos::memories::wire::UpdatedMemory,
    events::{Completion, Event, EventKind},
    model::{ModelInfo, RunId, RunMetrics, SessionId, SessionSummary, ToolExecution},
    processes::reader::Followed,
};

/// The fields by which every event of a run identifies its source.
#[derive(Clone, Debug)]
pub struct EventSource {
    pub agent_id: String,
    pub agent_name: String,
    pub run_id: RunId,
    pub session_id: SessionId,
    /// Whether the data of events includes `event_index`, as AgentOS does for background runs.
    pub is_indexed: bool,
}

impl EventSource {
    pub fn new(agent: &Agent, run: &Followed, is_indexed: bool) -> Self {
        Self {
            agent_id: agent.settings.id.clone(),
            agent_name: agent.name.clone(),
            run_id: run.run_id,
            session_id: run.session_id.clone(),
            is_indexed,
        }
    }
}

/// An encoded event.
#[derive(Debug)]
pub struct EncodedEvent {
    pub index: i32,
    pub name: &'static str,
    /// One line of JSON.
    pub data: String,
}

/// `None` if the wire has no such event.
pub fn encode(source: &EventSource, event: &Event) -> Option<EncodedEvent> {
    let (name, fields) = describe(&event.kind)?;
    let data = Envelope {
        created_at: event.at.timestamp(),
        event: name,
        agent_id: &source.agent_id,
        agent_name: &source.agent_name,
        run_id: source.run_id,
        session_id: &source.session_id,
        nested_depth: 0,
        event_index: source.is_indexed.then_some(event.index),
        fields,
    };
    let data = serde_json::to_string(&data).unwrap_or_else(|error| {
        tracing::error!(%error, event = name, "An event could not be written.");
        "{}".into()
    });
    Some(EncodedEvent { index: event.index, name, data })
}

#[derive(Serialize)]
struct Envelope<'a> {
    created_at: i64,
    event: &'static str,
    agent_id: &'a str,
    agent_name: &'a str,
    run_id: RunId,
    session_id: &'a SessionId,
    nested_depth: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_index: Option<i32>,
    #[serde(flatten)]
    fields: Fields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    None {},
    Model {
        model: &'a str,
        model_provider: &'a str,
    },
    Content {
        content: &'a str,
        workflow_agent: bool,
        content_type: &'static str,
        reasoning_content: &'static str,
    },
    Request {
        model: &'a str,
        model_provider: &'a str,
        input_tokens: i64,
        output_tokens: i64,
        total_tokens: i64,
        time_to_first_token: f64,
        reasoning_tokens: i64,
        cache_read_tokens: i64,
        cache_write_tokens: i64,
    },
    Tool {
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        tool: Box<ToolExecutionView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    Summary {
        #[serde(skip_serializing_if = "Option::is_none")]
        session_summary: Option<&'a SessionSummary>,
    },
    Error {
        content: &'a str,
        error_type: &'static str,
    },
    Cancelled {
        reason: &'a str,
    },
    Memories {
        memories: Vec<UpdatedMemory>,
    },
    Completed(Completed<'a>),
}

#[derive(Serialize)]
struct Completed<'a> {
    content: &'a str,
    content_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_provider_data: Option<&'a Value>,
    session_state: &'a Map<String, Value>,
    metrics: &'a RunMetrics,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
}

fn describe(kind: &EventKind) -> Option<(&'static str, Fields<'_>)> {
    let tool_fields = |tool: &ToolExecution| Fields::Tool { content: None, tool: view(tool), error: None };
    Some(match kind {
        EventKind::RunStarted { model } => ("RunStarted", model_fields(model)),
        EventKind::RunContinued => ("RunContinued", Fields::None {}),
        EventKind::ModelRequestStarted { model } => ("ModelRequestStarted", model_fields(model)),
        EventKind::RunContent { delta } => (
            "RunContent",
            Fields::Content { content: delta, workflow_agent: false, content_type: "str", reasoning_content: "" },
        ),
        EventKind::ModelRequestCompleted { model, usage, time_to_first_token } => (
            "ModelRequestCompleted",
            Fields::Request {
                model: &model.id,
                model_provider: &model.provider,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                total_tokens: usage.total_tokens,
                time_to_first_token: *time_to_first_token,
                reasoning_tokens: usage.reasoning_tokens,
                cache_read_tokens: usage.cache_read_tokens,
                cache_write_tokens: usage.cache_write_tokens,
            },
        ),
        EventKind::ToolCallStarted { tool } => ("ToolCallStarted", tool_fields(tool)),
        EventKind::ToolCallCompleted { tool } => {
            let content = Some(completed_call(tool));
            ("ToolCallCompleted", Fields::Tool { content, tool: view(tool), error: None })
        }
        EventKind::ToolCallError { tool, error } => {
            ("ToolCallError", Fields::Tool { content: None, tool: view(tool), error: Some(error) })
        }
        EventKind::RunContentCompleted => ("RunContentCompleted", Fields::None {}),
        EventKind::SessionSummaryStarted => ("SessionSummaryStarted", Fields::None {}),
        EventKind::SessionSummaryCompleted { summary } => {
            ("SessionSummaryCompleted", Fields::Summary { session_summary: summary.as_deref() })
        }
        EventKind::MemoryUpdateStarted => ("MemoryUpdateStarted", Fields::None {}),
        EventKind::MemoryUpdateCompleted { memories } => {
            let memories = memories.iter().cloned().map(UpdatedMemory::from).collect();
            ("MemoryUpdateCompleted", Fields::Memories { memories })
        }
        EventKind::RunError { error } => {
            ("RunError", Fields::Error { content: &error.message, error_type: error.kind.as_str() })
        }
        EventKind::RunCancelled { reason } => ("RunCancelled", Fields::Cancelled { reason }),
        EventKind::RunCompleted { completion } => ("RunCompleted", Fields::Completed(completed(completion))),
        EventKind::Unknown => return None,
    })
}

fn completed(completion: &Completion) -> Completed<'_> {
    Completed {
        content: &completion.content,
        content_type: "str",
        model_provider_data: completion.model_provider_data.as_ref(),
        session_state: &completion.session_state,
        metrics: &completion.metrics,
        metadata: &completion.metadata,
    }
}

fn view(tool: &ToolExecution) -> Box<ToolExecutionView> {
    Box::new(tool.clone().into())
}

/// The wire's sentence about a finished call: `get_weather(city=Paris) completed in 0.0047s. `
fn completed_call(tool: &ToolExecution) -> String {
    let arguments: Vec<String> = (tool.tool_args.as_object().into_iter().flatten())
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), Into::into)))
        .collect();
    let seconds = tool.metrics.map_or(0.0, |metrics| metrics.duration);
    format!("{}({}) completed in {seconds:.4}s. ", tool.tool_name, arguments.join(", "))
}

fn model_fields(model: &ModelInfo) -> Fields<'_> {
    Fields::Model { model: &model.id, model_provider: &model.provider }
}
