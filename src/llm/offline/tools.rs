//! Calls tools in obvious cases: to look up earlier messages, and to set a value in the session state.

use serde_json::{Map, Value, json};

use super::{Conversation, answers, text};
use crate::{
    llm::{ModelRequest, PromptMessage, ToolSpec},
    model::ToolCall,
};

const HISTORY: &str = "get_chat_history";
const STATE: &str = "update_session_state";

/// Maximum length of a tool result that is quoted in an answer, in characters.
const LONGEST_RESULT: usize = 1000;

pub(super) fn choose(request: &ModelRequest, conversation: &Conversation) -> Option<ToolCall> {
    let offered = |name: &str| request.tools.iter().find(|tool| tool.name == name);
    if let Some(tool) = offered(STATE)
        && let Some((key, value)) = assignment(&conversation.current)
    {
        return Some(call(request, STATE, state_arguments(tool, key, value)));
    }
    if offered(HISTORY).is_some() && answers::lacks_earlier_messages(conversation) {
        return Some(call(request, HISTORY, json!({})));
    }
    None
}

/// The answer after a tool's result.
pub(super) fn report_result(request: &ModelRequest, conversation: &Conversation, name: &str, content: &str) -> String {
    match name {
        HISTORY => {
            let earlier = user_messages(content, &conversation.current);
            answers::quote_earlier(&conversation.current, &earlier)
                .unwrap_or_else(|| "The chat history holds no earlier message.".into())
        }
        STATE if !text::fold(content).contains("error") => match last_assignment(request) {
            Some(said) => format!("Done: {said}."),
            None => "Done: the session state is updated.".into(),
        },
        _ => format!("The tool {name} answered: {}", text::quote(content, LONGEST_RESULT)),
    }
}

/// Ids must be unique within one conversation only.
fn call(request: &ModelRequest, name: &str, arguments: Value) -> ToolCall {
    let made = request.messages.iter().map(|message| match message {
        PromptMessage::Assistant { tool_calls, .. } => tool_calls.len(),
        PromptMessage::User(_) | PromptMessage::Tool { .. } => 0,
    });
    ToolCall { id: format!("offline_call_{}", made.sum::<usize>() + 1), name: name.into(), arguments }
}

/// Key and value of "set the color to blue" or "remember in the state that color = blue".
fn assignment(message: &str) -> Option<(String, Value)> {
    let message = text::plain(message);
    text::sentences(&message).into_iter().filter(|sentence| !sentence.is_question).find_map(|sentence| {
        let words = text::without_fillers(sentence.text);
        let (rest, joints): (&str, &[&str]) = if let Some(rest) = after_any(words, &["set", "update", "change"]) {
            (rest, &[" to ", "="])
        } else {
            (
                after_any(words, &["in the state that", "in the session state that", "in the state", "in state"])?,
                &["=", " is "],
            )
        };
        let folded = text::fold(rest);
        let (at, joint) = joints.iter().find_map(|joint| Some((folded.find(joint)?, joint.len())))?;
        Some((key(&rest[..at])?, value(&rest[at + joint..])?))
    })
}

fn after_any<'a>(words: &'a str, openers: &[&str]) -> Option<&'a str> {
    openers.iter().find_map(|opener| text::strip_words(words, opener))
}

fn key(text: &str) -> Option<String> {
    let key = after_any(text, &["the", "my", "a"]).unwrap_or(text);
    let key = text::trim(key).split_whitespace().collect::<Vec<_>>().join("_");
    (!key.is_empty()).then_some(key)
}

fn value(text: &str) -> Option<Value> {
    let text = text::trim(text);
    (!text.is_empty()).then(|| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
}

/// Wraps the update in the tool's parameter of type object, if it has one.
fn state_arguments(tool: &ToolSpec, key: String, value: Value) -> Value {
    let update = Value::Object(Map::from_iter([(key, value)]));
    let parameters = tool.parameters.get("properties").and_then(Value::as_object);
    let wrapper = parameters.into_iter().flatten().find(|(_, schema)| schema["type"] == "object");
    match wrapper {
        Some((name, _)) => Value::Object(Map::from_iter([(name.clone(), update)])),
        None => update,
    }
}

/// What the last call of the state tool set, as a phrase.
fn last_assignment(request: &ModelRequest) -> Option<String> {
    let calls = request.messages.iter().rev().find_map(|message| match message {
        PromptMessage::Assistant { tool_calls, .. } => tool_calls.iter().rev().find(|call| call.name == STATE),
        PromptMessage::User(_) | PromptMessage::Tool { .. } => None,
    })?;
    let arguments = calls.arguments.as_object()?;
    let (key, value) = arguments.iter().next()?;
    let (key, value) = value.as_object().and_then(|update| update.iter().next()).unwrap_or((key, value));
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(format!("{key} is now {value}"))
}

/// The user's messages in a history: a list of `{"role", "content"}`, alone or within an object. The current message is
/// excluded.
fn user_messages(history: &str, current: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(history) = serde_json::from_str::<Value>(history) {
        collect_user_messages(&history, &mut found);
    }
    found.retain(|message| message != current);
    found
}

fn collect_user_messages(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_user_messages(item, found)),
        Value::Object(fields) if fields.get("role").is_some_and(|role| role == "user") => {
            let content = fields.get("content").and_then(Value::as_str).unwrap_or_default();
            found.push(text::split_blocks(content).outside);
        }
        Value::Object(fields) => fields.values().for_each(|field| collect_user_messages(field, found)),
        _ => {}
    }
}
