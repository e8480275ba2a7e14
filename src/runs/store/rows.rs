//! The row types of runs and messages, and the conversion to the types of the model.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use crate::model::{
    AnsweredCall, ContextRecord, Message, MessageMetrics, ModelInfo, Role, Run, RunError, RunId, RunMetrics, RunStatus,
    SessionId, ToolCall, ToolExecution, UserId,
};

/// Selects runs `r` of sessions `s`. `$rest` is the rest of the statement.
macro_rules! select_runs {
    ($rest:literal, $($parameter:expr),* $(,)?) => {{
        use serde_json::{Map, Value};
        use sqlx::types::Json;
        use $crate::model::{ContextRecord, RunError, RunMetrics, ToolExecution};
        sqlx::query_as!(
            $crate::runs::store::rows::RunRow,
            r#"
            select r.session_id as "session_id!", r.seq as "seq!", r.run_id as "run_id!: RunId",
                   r.component_id as "component_id!", r.user_id, r.status as "status!: RunStatus", r.input as "input!",
                   r.content, r.error as "error: Json<RunError>", r.model, r.model_provider,
                   r.metrics as "metrics!: Json<RunMetrics>",
                   r.session_state as "session_state: Json<Map<String, Value>>",
                   r.metadata as "metadata!: Json<Map<String, Value>>", r.context as "context!: Json<ContextRecord>",
                   r.tools as "tools!: Json<Vec<ToolExecution>>",
                   r.forked_from_run_id as "forked_from_run_id: RunId", r.regenerated_from as "regenerated_from: RunId",
                   r.created_at as "created_at!"
            from run_records r join sessions s using (tenant_id, session_id)
            "#
            + $rest,
            $($parameter),*
        )
    }};
}
pub(crate) use select_runs;

/// Selects messages `m`. `$rest` and `$more` are the rest of the statement, from its `from` clause on.
macro_rules! select_messages {
    ($rest:literal $(+ $more:literal)*, $($parameter:expr),* $(,)?) => {{
        use sqlx::types::Json;
        use $crate::model::{MessageMetrics, Role, ToolCall};
        sqlx::query_as!(
            $crate::runs::store::rows::MessageRow,
            r#"
            select m.seq as "seq!", m.index as "index!", m.message_id as "message_id!", m.role as "role!: Role", m.content, m.reasoning,
                   m.tool_calls as "tool_calls: Json<Vec<ToolCall>>", m.tool_call_id, m.tool_name, m.tool_args,
                   m.tool_call_error, m.metrics as "metrics: Json<MessageMetrics>", m.provider_data, m.created_at as "created_at!"
            "#
            + $rest $(+ $more)*,
            $($parameter),*
        )
    }};
}
pub(crate) use select_messages;

pub(crate) struct RunRow {
    pub(crate) session_id: String,
    pub(crate) seq: i64,
    pub(crate) run_id: RunId,
    pub(crate) component_id: String,
    pub(crate) user_id: Option<String>,
    pub(crate) status: RunStatus,
    pub(crate) input: String,
    pub(crate) content: Option<String>,
    pub(crate) error: Option<Json<RunError>>,
    pub(crate) model: Option<String>,
    pub(crate) model_provider: Option<String>,
    pub(crate) metrics: Json<RunMetrics>,
    pub(crate) session_state: Option<Json<Map<String, Value>>>,
    pub(crate) metadata: Json<Map<String, Value>>,
    pub(crate) context: Json<ContextRecord>,
    pub(crate) tools: Json<Vec<ToolExecution>>,
    pub(crate) forked_from_run_id: Option<RunId>,
    pub(crate) regenerated_from: Option<RunId>,
    pub(crate) created_at: DateTime<Utc>,
}

impl RunRow {
    pub(crate) fn into_run(self) -> Run {
        Run {
            session_id: SessionId::stored(self.session_id),
            seq: self.seq,
            run_id: self.run_id,
            component_id: self.component_id,
            user_id: self.user_id.map(UserId::stored),
            status: self.status,
            input: self.input,
            content: self.content,
            error: self.error.map(|error| error.0),
            model: self.model.zip(self.model_provider).map(|(id, provider)| ModelInfo { id, provider }),
            metrics: self.metrics.0,
            session_state: self.session_state.map(|state| state.0),
            metadata: self.metadata.0,
            context: self.context.0,
            tools: self.tools.0,
            forked_from_run_id: self.forked_from_run_id,
            regenerated_from: self.regenerated_from,
            created_at: self.created_at,
        }
    }
}

pub(crate) struct MessageRow {
    pub(crate) seq: i64,
    pub(crate) index: i32,
    pub(crate) message_id: Uuid,
    pub(crate) role: Role,
    pub(crate) content: Option<String>,
    pub(crate) reasoning: Option<String>,
    pub(crate) tool_calls: Option<Json<Vec<ToolCall>>>,
    pub(crate) tool_call_id: Option<String>,
    pub(crate) tool_name: Option<String>,
    pub(crate) tool_args: Option<Value>,
    pub(crate) tool_call_error: Option<bool>,
    pub(crate) metrics: Option<Json<MessageMetrics>>,
    pub(crate) provider_data: Option<Value>,
    pub(crate) created_at: DateTime<Utc>,
}

impl MessageRow {
    pub(crate) fn into_message(self) -> Message {
        let answers = self.tool_call_id.map(|tool_call_id| AnsweredCall {
            tool_call_id,
            tool_name: self.tool_name.unwrap_or_default(),
            tool_args: self.tool_args.unwrap_or_default(),
            tool_call_error: self.tool_call_error.unwrap_or_default(),
        });
        Message {
            message_id: self.message_id,
            role: self.role,
            content: self.content,
            reasoning: self.reasoning,
            tool_calls: self.tool_calls.map(|calls| calls.0),
            answers,
            metrics: self.metrics.map(|metrics| metrics.0),
            provider_data: self.provider_data,
            created_at: self.created_at,
        }
    }
}
