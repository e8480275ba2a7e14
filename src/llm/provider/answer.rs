//! A model's answer while it is assembled, within limits.

use serde_json::{Map, Value};

use super::wire::Fault;
use crate::model::{ToolCall, Usage};

/// Limit for content, reasoning and tool calls together, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Limit for the arguments of all calls, in bytes: parsed JSON takes many times as much memory.
const MAX_ARGUMENT_BYTES: usize = 1024 * 1024;
const MAX_TOOL_CALLS: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) content: String,
    pub(super) reasoning: String,
    pub(super) usage: Usage,
    pub(super) response_id: Option<String>,
    /// Whether the provider has given a reason for the end of the answer.
    pub(super) has_stop_reason: bool,
    calls: Vec<Call>,
    bytes: usize,
    argument_bytes: usize,
}

#[derive(Debug)]
struct Call {
    /// Identifies the call across the pieces of a stream.
    key: usize,
    id: String,
    name: String,
    arguments: String,
}

/// Whether the stream continues after this frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoesOn,
    Ends,
}

impl Answer {
    pub(super) fn say(&mut self, text: &str) -> Result<(), Fault> {
        self.grow(text.len())?;
        self.content.push_str(text);
        Ok(())
    }

    pub(super) fn think(&mut self, text: &str) -> Result<(), Fault> {
        self.grow(text.len())?;
        self.reasoning.push_str(text);
        Ok(())
    }

    /// Adds a call, or appends a piece to the call with this key. Empty fields change nothing.
    pub(super) fn call(&mut self, key: usize, id: &str, name: &str, arguments: &str) -> Result<(), Fault> {
        self.grow(id.len() + name.len() + arguments.len())?;
        self.argument_bytes += arguments.len();
        if self.argument_bytes > MAX_ARGUMENT_BYTES {
            return Err(Fault::too_large("arguments of tools", MAX_ARGUMENT_BYTES));
        }
        let position = self.calls.iter().position(|call| call.key == key);
        let call = match position {
            Some(position) => &mut self.calls[position],
            None if self.calls.len() == MAX_TOOL_CALLS => {
                return Err(Fault::TooLarge(format!("more than {MAX_TOOL_CALLS} tool calls")));
            }
            None => self.calls.push_mut(Call { key, id: String::new(), name: String::new(), arguments: String::new() }),
        };
        if !id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if !name.is_empty() {
            name.clone_into(&mut call.name);
        }
        call.arguments.push_str(arguments);
        Ok(())
    }

    /// The key of the next call, for providers that give none.
    pub(super) fn next_call(&self) -> usize {
        self.calls.len()
    }

    /// Whether the answer is empty and has no stop reason, as with an empty list of choices. An empty answer with a
    /// stop reason is valid.
    pub(super) fn is_missing(&self) -> bool {
        !self.has_stop_reason && self.content.is_empty() && self.reasoning.is_empty() && self.calls.is_empty()
    }

    pub(super) fn take_tool_calls(&mut self) -> Vec<ToolCall> {
        let calls = std::mem::take(&mut self.calls);
        calls
            .into_iter()
            .map(|Call { key, id, name, arguments }| ToolCall {
                id: if id.is_empty() { format!("call_{key}") } else { id },
                name,
                arguments: read_arguments(arguments),
            })
            .collect()
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            return Err(Fault::too_large("an answer", MAX_BYTES));
        }
        Ok(())
    }
}

/// Parses the arguments of a call. Models send nothing for a tool without arguments, and sometimes broken JSON. Broken
/// JSON is passed to the tool as text: the model reads the tool's error and tries again.
fn read_arguments(text: String) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(&text) {
        Ok(Value::Null) => Value::Object(Map::new()),
        // Some servers encode the arguments twice.
        Ok(Value::String(inner)) => serde_json::from_str(&inner).unwrap_or(Value::String(inner)),
        Ok(arguments) => arguments,
        Err(_) => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_an_object_where_possible_and_otherwise_as_they_came() {
        let read = |text: &str| read_arguments(text.to_owned());
        assert_eq!(read(r#"{"a": 1}"#), json!({"a": 1}));
        assert_eq!(read(r#""{\"a\": 1}""#), json!({"a": 1}));
        assert_eq!(read(""), json!({}));
        assert_eq!(read("null"), json!({}));
        assert_eq!(read("{broken"), json!("{broken"));
        assert_eq!(read("[1]"), json!([1]));
    }

    #[test]
    fn pieces_of_calls_find_their_call_in_any_order() {
        let mut answer = Answer::default();
        answer.call(7, "a", "add", "{\"a\":").unwrap();
        answer.call(2, "", "now", "").unwrap();
        answer.call(7, "", "", " 1}").unwrap();
        let calls = answer.take_tool_calls();
        let call = |id: &str, name: &str, arguments| ToolCall { id: id.into(), name: name.into(), arguments };
        assert_eq!(calls, [call("a", "add", json!({"a": 1})), call("call_2", "now", json!({}))]);
    }
}
