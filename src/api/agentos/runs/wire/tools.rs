//! Tool executions in responses.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{ToolExecution, ToolMetrics};

/// One tool execution. It has all keys of AgentOS; those of unsupported features are null or false.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ToolExecution)]
pub struct ToolExecutionView {
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

impl From<ToolExecution> for ToolExecutionView {
    fn from(tool: ToolExecution) -> Self {
        Self {
            tool_call_id: tool.tool_call_id,
            tool_name: tool.tool_name,
            tool_args: tool.tool_args,
            tool_call_error: tool.tool_call_error,
            result: tool.result,
            metrics: tool.metrics,
            child_run_id: None,
            stop_after_tool_call: false,
            created_at: tool.created_at,
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
