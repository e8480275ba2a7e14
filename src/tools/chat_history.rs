//! `get_chat_history`: the latest turns of this session, including those that are not in the prompt any more.

use serde_json::{Value, json};

use super::Toolbox;
use crate::{llm::ToolSpec, prompt::store};

const DEFAULT_CHATS: i64 = 10;
const MAX_CHATS: i64 = 100;

pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: "get_chat_history",
        description: "Reads what the user and you said earlier in this conversation, oldest first.",
        parameters: json!({
            "type": "object",
            "properties": {
                "num_chats": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_CHATS,
                    "description": "How many of the latest turns to read; 10 if left out.",
                },
            },
            "required": [],
        }),
    }
}

pub(super) async fn call(toolbox: &Toolbox<'_>, arguments: &Value) -> Result<String, String> {
    let turns = match &arguments["num_chats"] {
        Value::Null => DEFAULT_CHATS,
        given => given
            .as_i64()
            .filter(|turns| *turns >= 1)
            .ok_or("num_chats must be a whole number of at least 1")?
            .min(MAX_CHATS),
    };
    let history = store::history(&toolbox.app.db, toolbox.claim, None, turns).await.map_err(|error| {
        tracing::warn!(%error, "The chat history could not be read for a tool.");
        "the conversation could not be read right now"
    })?;
    let said: Vec<Value> = history
        .messages()
        .filter(|message| message.content.is_some() && message.answers.is_none())
        .map(|message| json!({ "role": message.role, "content": message.content }))
        .collect();
    Ok(Value::Array(said).to_string())
}
