//! Messages of runs, as they are stored.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::MessageMetrics;
use crate::words::{NewerWord, words};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    #[serde(skip)]
    Newer(NewerWord),
}

words!(Role, "message_role", None::<&str>, {
    System => "system",
    User => "user",
    Assistant => "assistant",
    Tool => "tool",
});

/// One message of a run, as it is stored.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    pub message_id: Uuid,
    pub role: Role,
    pub content: Option<String>,
    pub reasoning: Option<String>,
    /// The calls that an assistant message makes.
    pub tool_calls: Option<Vec<ToolCall>>,
    #[serde(flatten)]
    pub answers: Option<AnsweredCall>,
    pub metrics: Option<MessageMetrics>,
    pub provider_data: Option<Value>,
    pub created_at: DateTime<Utc>,
}

impl Message {
    pub fn new(role: Role, content: Option<String>, created_at: DateTime<Utc>) -> Self {
        Self {
            message_id: Uuid::now_v7(),
            role,
            content,
            reasoning: None,
            tool_calls: None,
            answers: None,
            metrics: None,
            provider_data: None,
            created_at,
        }
    }
}

/// The call that a tool message answers.
#[derive(Clone, Debug, Serialize)]
pub struct AnsweredCall {
    pub tool_call_id: String,
    pub tool_name: String,
    pub tool_args: Value,
    pub tool_call_error: bool,
}
