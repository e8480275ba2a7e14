//! OpenAI's Chat Completions API, which many other servers implement too.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    answer::{Answer, Flow},
    json::{lenient, list, read, text},
    wire::Fault,
};
use crate::{
    config::ModelSettings,
    llm::{ModelRequest, PromptMessage, ToolSpec},
    model::{ToolCall, Usage},
};

/// A request. Texts are borrowed: a prompt may be long.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    messages: Vec<Sent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Sent<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
}

pub(super) fn body<'a>(settings: &'a ModelSettings, request: &'a ModelRequest, streamed: bool) -> Body<'a> {
    let system = request.system.iter().map(|text| Sent::text("system", text));
    let response_format = request.response.as_ref().map(|response| {
        let schema = json!({"name": response.name, "strict": true, "schema": response.schema});
        json!({"type": "json_schema", "json_schema": schema})
    });
    let (max_tokens, max_completion_tokens) =
        if takes_new_limit(&settings.id) { (None, settings.max_tokens) } else { (settings.max_tokens, None) };
    Body {
        model: &settings.id,
        stream: streamed,
        stream_options: streamed.then(|| json!({"include_usage": true})),
        tools: request.tools.iter().map(tool).collect(),
        messages: system.chain(request.messages.iter().map(message)).collect(),
        response_format,
        temperature: settings.temperature,
        max_tokens,
        max_completion_tokens,
    }
}

/// OpenAI's reasoning models reject `max_tokens`, and other servers do not know `max_completion_tokens`.
fn takes_new_limit(id: &str) -> bool {
    ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|family| id.starts_with(family))
}

impl<'a> Sent<'a> {
    fn text(role: &'static str, content: &'a str) -> Self {
        Self { role, content, tool_call_id: None, tool_calls: Vec::new() }
    }
}

fn message(message: &PromptMessage) -> Sent<'_> {
    match message {
        PromptMessage::User(text) => Sent::text("user", text),
        PromptMessage::Tool { call_id, content, .. } => {
            Sent { tool_call_id: Some(call_id), ..Sent::text("tool", content) }
        }
        PromptMessage::Assistant { content, tool_calls } => {
            let text = Sent::text("assistant", content.as_deref().unwrap_or_default());
            Sent { tool_calls: tool_calls.iter().map(call).collect(), ..text }
        }
    }
}

fn call(call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
    json!({"type": "function", "id": call.id, "function": function})
}

fn tool(tool: &ToolSpec) -> Value {
    let function = json!({
        "name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": false,
    });
    json!({"type": "function", "function": function})
}

/// A whole answer, or one event of a stream.
#[derive(Deserialize)]
struct Completion {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "list")]
    choices: Vec<Choice>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<TheirUsage>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Choice {
    /// In a whole answer.
    message: Option<Message>,
    /// In an event of a stream. Some servers send both fields; then the other one is ignored.
    delta: Option<Message>,
    #[serde(default, deserialize_with = "lenient")]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    reasoning: Option<String>,
    #[serde(default, deserialize_with = "list")]
    tool_calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default, deserialize_with = "lenient")]
    index: Option<usize>,
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default, deserialize_with = "lenient")]
    name: String,
    arguments: Option<Box<RawValue>>,
}

/// Mistral's form of content, instead of a string.
#[derive(Deserialize)]
struct Part {
    #[serde(default, deserialize_with = "lenient")]
    text: String,
    #[serde(default, deserialize_with = "lenient")]
    thinking: Vec<Thought>,
}

#[derive(Deserialize)]
struct Thought {
    #[serde(default, deserialize_with = "lenient")]
    text: String,
}

#[derive(Deserialize)]
struct TheirUsage {
    #[serde(default, deserialize_with = "lenient")]
    prompt_tokens: i64,
    #[serde(default, deserialize_with = "lenient")]
    completion_tokens: i64,
    #[serde(default, deserialize_with = "lenient")]
    total_tokens: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    prompt_tokens_details: PromptDetails,
    #[serde(default, deserialize_with = "lenient")]
    completion_tokens_details: CompletionDetails,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "lenient")]
    cached_tokens: i64,
    #[serde(default, alias = "cache_write_tokens", deserialize_with = "lenient")]
    cache_creation_tokens: i64,
}

#[derive(Default, Deserialize)]
struct CompletionDetails {
    #[serde(default, deserialize_with = "lenient")]
    reasoning_tokens: i64,
}

pub(super) fn read_whole(body: &[u8], answer: &mut Answer) -> Result<(), Fault> {
    take(read(body)?, |choice| choice.message, answer)
}

pub(super) fn read_event(data: &str, answer: &mut Answer) -> Result<Flow, Fault> {
    if data == "[DONE]" {
        return Ok(Flow::Ends);
    }
    take(read(data.as_bytes())?, |choice| choice.delta, answer)?;
    Ok(Flow::GoesOn)
}

fn take(
    completion: Completion,
    said: impl FnOnce(Choice) -> Option<Message>,
    answer: &mut Answer,
) -> Result<(), Fault> {
    let error = text(completion.error.as_deref());
    if !error.is_empty() {
        return Err(Fault::Reported(error.to_owned()));
    }
    if answer.response_id.is_none() {
        answer.response_id = completion.id;
    }
    if let Some(usage) = completion.usage {
        answer.usage = usage.into();
    }
    let Some(choice) = completion.choices.into_iter().next() else { return Ok(()) };
    answer.has_stop_reason |= choice.finish_reason.is_some();
    let Some(message) = said(choice) else { return Ok(()) };
    if let Some(thought) = message.reasoning_content.or(message.reasoning) {
        answer.think(&thought)?;
    }
    say(text(message.content.as_deref()), answer)?;
    for call in message.tool_calls {
        let Some(function) = call.function else { continue };
        let key = call.index.unwrap_or_else(|| match (answer.next_call(), call.id.is_empty()) {
            (next, true) if function.name.is_empty() => next.saturating_sub(1),
            (next, _) => next,
        });
        let arguments = text(function.arguments.as_deref());
        // Usually a string; some servers send the object itself.
        let decoded = serde_json::from_str::<String>(arguments);
        answer.call(key, &call.id, &function.name, decoded.as_deref().unwrap_or(arguments))?;
    }
    Ok(())
}

fn say(content: &str, answer: &mut Answer) -> Result<(), Fault> {
    if content.is_empty() {
        return Ok(());
    }
    if let Ok(text) = serde_json::from_str::<String>(content) {
        return answer.say(&text);
    }
    let parts: Vec<Part> = list(&mut serde_json::Deserializer::from_str(content)).map_err(|_| Fault::Unreadable)?;
    for part in parts {
        for thought in part.thinking {
            answer.think(&thought.text)?;
        }
        answer.say(&part.text)?;
    }
    Ok(())
}

impl From<TheirUsage> for Usage {
    fn from(theirs: TheirUsage) -> Self {
        Self {
            input_tokens: theirs.prompt_tokens,
            output_tokens: theirs.completion_tokens,
            total_tokens: theirs.total_tokens.unwrap_or(theirs.prompt_tokens.saturating_add(theirs.completion_tokens)),
            reasoning_tokens: theirs.completion_tokens_details.reasoning_tokens,
            cache_read_tokens: theirs.prompt_tokens_details.cached_tokens,
            cache_write_tokens: theirs.prompt_tokens_details.cache_creation_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;

    fn answer(body: &Value) -> Answer {
        let mut answer = Answer::default();
        read_whole(body.to_string().as_bytes(), &mut answer).unwrap();
        answer
    }

    #[test]
    fn a_total_that_the_provider_left_out_is_added_up() {
        let answer = answer(&json!({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": null}}));
        assert_eq!(answer.usage.total_tokens, 7);
    }

    #[test]
    fn a_field_of_an_odd_form_does_not_cost_the_answer() {
        let message = json!({"content": "hi", "reasoning": {"effort": 3}});
        let choice = json!({"message": message, "finish_reason": 7});
        let answer = answer(&json!({"id": 3, "choices": [choice], "usage": "none", "error": null}));
        assert_eq!((answer.content.as_str(), answer.response_id), ("hi", None));
    }

    #[test]
    fn content_may_come_in_parts() {
        let thought = json!({"type": "thinking", "thinking": [{"type": "text", "text": "so"}]});
        let content = json!([thought, {"type": "text", "text": "No"}]);
        let answer = answer(&json!({"choices": [{"message": {"content": content}}]}));
        assert_eq!((answer.content.as_str(), answer.reasoning.as_str()), ("No", "so"));
    }

    #[test]
    fn calls_without_a_number_are_told_apart_by_their_ids() {
        let piece = |id: &str, name: &str, arguments: &str| {
            let call = json!({"id": id, "function": {"name": name, "arguments": arguments}});
            json!({"choices": [{"delta": {"tool_calls": [call]}}]}).to_string()
        };
        let mut answer = Answer::default();
        for event in [piece("a", "add", "{\"n\""), piece("", "", ": 1}"), piece("b", "add", "{}")] {
            assert_eq!(read_event(&event, &mut answer).unwrap(), Flow::GoesOn);
        }
        let calls = answer.take_tool_calls();
        assert_eq!(calls.iter().map(|call| call.arguments.clone()).collect::<Vec<_>>(), [json!({"n": 1}), json!({})]);
    }

    #[test]
    fn reasoning_models_of_openai_get_the_new_name_of_the_limit() {
        let sent = |id: &str| {
            let settings = ModelSettings { max_tokens: Some(7), ..ModelSettings::new(Provider::OpenAi, id) };
            serde_json::to_value(body(&settings, &ModelRequest::default(), false)).unwrap()
        };
        assert_eq!(
            sent("gpt-5-mini"),
            json!({"model": "gpt-5-mini", "stream": false, "messages": [], "max_completion_tokens": 7})
        );
        assert_eq!(
            sent("gpt-4o-mini"),
            json!({"model": "gpt-4o-mini", "stream": false, "messages": [], "max_tokens": 7})
        );
    }
}
