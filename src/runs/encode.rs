//! Events as JSON, in the shapes of the wire.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    events::{Completion, EncodedEvent, EventKind},
    model::RunId,
    wire::ToolExecution,
};
use crate::{
    agents::Agent,
    llm::ModelInfo,
    memories::wire::UpdatedMemory,
    sessions::{SessionId, summary::SessionSummary},
};

/// What every event of a run says about where it comes from.
#[derive(Clone, Debug)]
pub struct EventSource {
    pub agent_id: String,
    pub agent_name: String,
    pub run_id: RunId,
    pub session_id: SessionId,
    /// Whether the events say their indexes in their data too, as AgentOS does in the background.
    pub is_indexed: bool,
}

impl EventSource {
    pub fn new(agent: &Agent, run_id: RunId, session_id: &SessionId, is_indexed: bool) -> Self {
        Self {
            agent_id: agent.settings.id.clone(),
            agent_name: agent.name.clone(),
            run_id,
            session_id: session_id.clone(),
            is_indexed,
        }
    }

    #[cfg(test)]
    pub(super) fn sample() -> Self {
        Self {
            agent_id: "a".into(),
            agent_name: "A".into(),
            run_id: RunId::mint(),
            session_id: SessionId::mint(),
            is_indexed: false,
        }
    }
}

pub(super) fn event(source: &EventSource, index: i32, kind: &EventKind, at: DateTime<Utc>) -> EncodedEvent {
    let (name, fields) = describe(kind);
    let data = Envelope {
        created_at: at.timestamp(),
        event: name,
        agent_id: &source.agent_id,
        agent_name: &source.agent_name,
        run_id: source.run_id,
        session_id: &source.session_id,
        nested_depth: 0,
        event_index: source.is_indexed.then_some(index),
        fields,
    };
    let json = serde_json::to_string(&data).unwrap_or_else(|error| {
        tracing::error!(%error, event = name, "An event could not be written.");
        "{}".into()
    });
    EncodedEvent { index, name: name.into(), data: Arc::from(json) }
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
        content: Option<&'a str>,
        tool: &'a ToolExecution,
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
        memories: &'a [UpdatedMemory],
    },
    Completed(&'a Completion),
}

fn describe(kind: &EventKind) -> (&'static str, Fields<'_>) {
    match kind {
        EventKind::RunStarted(model) => ("RunStarted", model_fields(model)),
        EventKind::RunContinued => ("RunContinued", Fields::None {}),
        EventKind::ModelRequestStarted(model) => ("ModelRequestStarted", model_fields(model)),
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
        EventKind::ToolCallStarted(tool) => ("ToolCallStarted", Fields::Tool { content: None, tool, error: None }),
        EventKind::ToolCallCompleted { tool, content } => {
            ("ToolCallCompleted", Fields::Tool { content: Some(content), tool, error: None })
        }
        EventKind::ToolCallError { tool, error } => {
            ("ToolCallError", Fields::Tool { content: None, tool, error: Some(error) })
        }
        EventKind::RunContentCompleted => ("RunContentCompleted", Fields::None {}),
        EventKind::MemoryUpdateStarted => ("MemoryUpdateStarted", Fields::None {}),
        EventKind::MemoryUpdateCompleted { memories } => ("MemoryUpdateCompleted", Fields::Memories { memories }),
        EventKind::SessionSummaryStarted => ("SessionSummaryStarted", Fields::None {}),
        EventKind::SessionSummaryCompleted(summary) => {
            ("SessionSummaryCompleted", Fields::Summary { session_summary: summary.as_deref() })
        }
        EventKind::RunError(error) => {
            ("RunError", Fields::Error { content: &error.message, error_type: error.kind.as_str() })
        }
        EventKind::RunCancelled { reason } => ("RunCancelled", Fields::Cancelled { reason }),
        EventKind::RunCompleted(completion) => ("RunCompleted", Fields::Completed(completion)),
    }
}

fn model_fields(model: &ModelInfo) -> Fields<'_> {
    Fields::Model { model: &model.id, model_provider: &model.provider }
}
