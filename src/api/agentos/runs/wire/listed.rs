//! Runs in the lists of a session.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{MessageView, ToolExecutionView, answer_or_reason, rfc3339};
use crate::{
    model::{Message, Run, RunError, RunId, RunMetrics, RunStatus, UserId},
    text,
};

/// A run in the list of a session's runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunSchema {
    pub run_id: RunId,
    /// The run's number in its session, assigned from 1 without gaps.
    pub seq: i64,
    /// Always empty: no run is started by another run.
    pub parent_run_id: &'static str,
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    pub status: RunStatus,
    pub run_input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[schema(example = "text")]
    pub run_response_format: &'static str,
    pub reasoning_content: &'static str,
    #[schema(value_type = Vec<Object>)]
    pub reasoning_steps: [Value; 0],
    pub metrics: RunMetrics,
    pub messages: Vec<MessageView>,
    pub tools: Vec<ToolExecutionView>,
    /// RFC 3339, UTC.
    #[schema(example = "2026-11-22T10:05:20Z")]
    pub created_at: String,
    #[schema(value_type = Vec<Object>)]
    pub references: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub reasoning_messages: [Value; 0],
    #[schema(value_type = Object)]
    pub session_state: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    #[schema(value_type = Vec<Object>)]
    pub images: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub videos: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub audio: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub files: [Value; 0],
    pub input_media: InputMedia,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from_run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regenerated_from: Option<RunId>,
}

/// A preview of a run, with shortened input and answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunPreview {
    pub run_id: RunId,
    /// The run's number in its session, assigned from 1 without gaps.
    pub seq: i64,
    /// Always empty: no run is started by another run.
    pub parent_run_id: &'static str,
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    pub status: RunStatus,
    /// At most 280 characters.
    pub run_input: String,
    /// At most 280 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_preview: Option<String>,
    #[schema(example = "2026-11-22T10:05:20Z")]
    pub created_at: String,
}

const PREVIEW_CHARS: usize = 280;

impl From<Run> for RunPreview {
    fn from(run: Run) -> Self {
        let content = answer_or_reason(run.content, run.error.as_ref());
        Self {
            run_id: run.run_id,
            seq: run.seq,
            parent_run_id: "",
            agent_id: run.component_id,
            user_id: run.user_id,
            status: run.status,
            run_input: text::truncate(&run.input, PREVIEW_CHARS),
            content_preview: content.map(|content| text::truncate(&content, PREVIEW_CHARS)),
            created_at: rfc3339(run.created_at),
        }
    }
}

/// The media of a run's input.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct InputMedia {
    #[schema(value_type = Vec<Object>)]
    pub images: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub videos: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub audios: [Value; 0],
    #[schema(value_type = Vec<Object>)]
    pub files: [Value; 0],
}

impl RunSchema {
    pub fn new(run: Run, messages: Vec<Message>) -> Self {
        Self {
            run_id: run.run_id,
            seq: run.seq,
            parent_run_id: "",
            agent_id: run.component_id,
            user_id: run.user_id,
            status: run.status,
            run_input: run.input,
            content: answer_or_reason(run.content, run.error.as_ref()),
            run_response_format: "text",
            reasoning_content: "",
            reasoning_steps: [],
            metrics: run.metrics,
            messages: MessageView::all(messages),
            tools: run.tools.into_iter().map(Into::into).collect(),
            created_at: rfc3339(run.created_at),
            references: [],
            reasoning_messages: [],
            session_state: run.session_state.unwrap_or_default(),
            metadata: run.metadata,
            error: run.error,
            images: [],
            videos: [],
            audio: [],
            files: [],
            input_media: InputMedia::default(),
            forked_from_run_id: run.forked_from_run_id,
            regenerated_from: run.regenerated_from,
        }
    }
}
