//! `search_past_sessions`: searches the messages of all sessions of the user.

use serde_json::{Value, json};

use super::Toolbox;
use crate::{
    llm::ToolSpec,
    model::Scope,
    search::{
        self,
        model::{FoundItem, Search, SearchFilter},
    },
    text,
};

const MOST_FOUND: usize = 10;
const MAX_TOKENS: usize = 1_500;
const QUERY_CHARS: usize = 2_000;
const QUOTE_CHARS: usize = 1_500;

pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: "search_past_sessions",
        description: "Finds what was said in earlier conversations with this user, best first.",
        parameters: json!({
            "type": "object",
            "properties": {
                "query": { "type": "string", "description": "A question or some words." },
            },
            "required": ["query"],
        }),
    }
}

pub(super) async fn call(toolbox: &Toolbox<'_>, arguments: &Value) -> Result<String, String> {
    let query = arguments["query"].as_str().filter(|query| !query.trim().is_empty()).ok_or("query must be a text")?;
    let user = toolbox.user.cloned().ok_or("there is no user whose sessions could be searched")?;
    let search = Search {
        query: query.chars().take(QUERY_CHARS).collect(),
        scope: Scope::User(toolbox.claim.tenant_id.clone(), user),
        session_id: None,
        messages: true,
        memories: false,
        from: None,
        to: None,
        filter: SearchFilter::default(),
        limit: MOST_FOUND,
        max_tokens: Some(MAX_TOKENS),
    };
    let found = search::service::search(toolbox.app, &search).await.map_err(|error| {
        tracing::warn!(%error, "The past sessions could not be searched for a tool.");
        "the past sessions could not be searched right now"
    })?;
    let found: Vec<Value> = found
        .hits
        .into_iter()
        .filter_map(|hit| match hit.found {
            // The messages of the current run are in the prompt already.
            FoundItem::Message(message)
                if (&message.session_id, message.seq) == (&toolbox.claim.session_id, toolbox.claim.seq) =>
            {
                None
            }
            FoundItem::Message(message) => Some(json!({
                "session_id": message.session_id,
                "role": message.role,
                "content": text::truncate(&message.content, QUOTE_CHARS),
                "said_at": message.created_at.date_naive(),
            })),
            FoundItem::Memory(_) => None,
        })
        .collect();
    Ok(Value::Array(found).to_string())
}
