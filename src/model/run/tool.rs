//! Tool executions, as they are stored with their run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::ToolCall;

/// One execution of a tool. Unknown fields of other builds are ignored when a stored one is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolExecution {
    pub tool_call_id: String,
    pub tool_name: String,
    pub tool_args: Value,
    /// Absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_error: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<ToolMetrics>,
    /// Unix seconds.
    pub created_at: i64,
}

/// Start and end of a tool's execution in Unix seconds, and its duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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
            created_at: at.timestamp(),
        }
    }
}
