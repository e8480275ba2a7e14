//! `search_memories`, `remember`, `forget`: an agent manages its user's memories itself.

use serde_json::{Value, json};

use super::Toolbox;
use crate::{
    llm::ToolSpec,
    memories::{
        change::{self, Change},
        store,
    },
    model::{MemoryId, Scope},
    search::{
        self,
        model::{FoundItem, Search},
    },
};

const MOST_FOUND: usize = 10;
const QUERY_CHARS: usize = 2_000;

pub(super) fn search_spec() -> ToolSpec {
    ToolSpec {
        name: "search_memories",
        description: "Finds what is remembered about the user from earlier conversations, with the ids to forget by.",
        parameters: json!({
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "A question or some words." },
            },
            "required": ["query"],
        }),
    }
}

pub(super) fn remember_spec() -> ToolSpec {
    ToolSpec {
        name: "remember",
        description: "Remembers a lasting fact about the user for later conversations. Not for passwords, keys or card \
                      numbers.",
        parameters: json!({
            "type": "object",
            "properties": {
                "memory": {
                    "type": "string",
                    "description": "One short sentence in the third person: The user likes pizza.",
                },
                "topics": { "type": "array", "items": { "type": "string" } },
                "replaces": {
                    "type": "string",
                    "description": "The id of a memory that is no longer true, from search_memories.",
                },
            },
            "required": ["memory"],
        }),
    }
}

pub(super) fn forget_spec() -> ToolSpec {
    ToolSpec {
        name: "forget",
        description: "Erases a memory, when the user asks for it.",
        parameters: json!({
            "type": "object",
            "properties": {
                "memory_id": { "type": "string", "description": "An id from search_memories." },
            },
            "required": ["memory_id"],
        }),
    }
}

pub(super) async fn search(toolbox: &Toolbox<'_>, arguments: &Value) -> Result<String, String> {
    let query = arguments["query"].as_str().filter(|query| !query.trim().is_empty()).ok_or("query must be a text")?;
    let search =
        Search { limit: MOST_FOUND, ..Search::of_memories(scope(toolbox)?, query.chars().take(QUERY_CHARS).collect()) };
    let found = search::service::search(toolbox.app, &search).await.map_err(unreadable)?;
    let found: Vec<Value> = found
        .hits
        .into_iter()
        .filter_map(|hit| match hit.found {
            FoundItem::Memory(memory) => Some(json!({
                "memory_id": memory.memory_id,
                "memory": memory.memory,
                "updated_at": memory.updated_at.date_naive(),
            })),
            FoundItem::Message(_) => None,
        })
        .collect();
    Ok(Value::Array(found).to_string())
}

pub(super) fn remember(toolbox: &mut Toolbox<'_>, arguments: &Value) -> Result<String, String> {
    let memory = arguments["memory"].as_str().ok_or("memory must be a text")?.trim().to_owned();
    change::check_text(&memory).map_err(|reason| format!("the memory {reason}"))?;
    let topics = arguments["topics"].as_array().into_iter().flatten();
    let topics: Vec<String> = topics.filter_map(Value::as_str).map(str::to_owned).collect();
    change::check_topics(&topics).map_err(|reason| format!("the memory {reason}"))?;
    let expires_at = None;
    let replaces = arguments.get("replaces").filter(|id| !id.is_null() && **id != "");
    toolbox.memories.push(match replaces {
        Some(id) => Change::Replace { memory_id: memory_id(id)?, memory, topics, expires_at },
        None => Change::Add { memory, topics, expires_at },
    });
    Ok("It will be remembered.".into())
}

pub(super) async fn forget(toolbox: &mut Toolbox<'_>, arguments: &Value) -> Result<String, String> {
    let memory_id = memory_id(&arguments["memory_id"])?;
    let found = store::find(&toolbox.app.db, &scope(toolbox)?, memory_id).await.map_err(unreadable)?;
    let memory = found.ok_or("there is no memory with this id; search_memories has the ids")?;
    toolbox.memories.push(Change::Forget { memory_id });
    Ok(format!("It will be forgotten: {}", memory.memory))
}

fn memory_id(value: &Value) -> Result<MemoryId, String> {
    let id = value.as_str().and_then(|id| id.trim().parse().ok()).map(MemoryId);
    id.ok_or_else(|| "this is no id of a memory; search_memories has the ids".into())
}

fn scope(toolbox: &Toolbox<'_>) -> Result<Scope, String> {
    let user = toolbox.user.cloned().ok_or("there is no user to remember things about")?;
    Ok(Scope::User(toolbox.claim.tenant_id.clone(), user))
}

fn unreadable(error: sqlx::Error) -> String {
    tracing::warn!(%error, "The memories could not be read for a tool.");
    "the memories could not be read right now".into()
}
