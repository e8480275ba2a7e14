//! Ollama's native API.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{
    answer::{Answer, Flow},
    dialect,
    json::{lenient, list, read, text},
    wire::Fault,
};
use crate::{
    config::ModelSettings,
    llm::{ModelRequest, PromptMessage, ToolSpec},
    model::{ToolCall, Usage},
};

pub(super) fn body(settings: &ModelSettings, request: &ModelRequest, streamed: bool) -> Value {
    let mut body = json!({"model": settings.id, "stream": streamed});
    let mut options = json!({});
    if let Some(temperature) = settings.temperature {
        options["temperature"] = temperature.into();
    }
    if let Some(max_tokens) = settings.max_tokens {
        options["num_predict"] = max_tokens.into();
    }
    if options != json!({}) {
        body["options"] = options;
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    let system = request.system.iter().map(|text| json!({"role": "system", "content": text}));
    body["messages"] = system.chain(request.messages.iter().map(message)).collect();
    body
}

fn message(message: &PromptMessage) -> Value {
    match message {
        PromptMessage::User(text) => json!({"role": "user", "content": text}),
        PromptMessage::Tool { content, .. } => json!({"role": "tool", "content": content}),
        PromptMessage::Assistant { content, tool_calls } => {
            let mut message = json!({"role": "assistant"});
            if let Some(content) = content.as_deref().filter(|text| !text.is_empty()) {
                message["content"] = content.into();
            }
            if !tool_calls.is_empty() {
                message["tool_calls"] = tool_calls.iter().map(call).collect();
            }
            message
        }
    }
}

fn call(call: &ToolCall) -> Value {
    json!({"function": {"name": call.name, "arguments": dialect::object(&call.arguments)}})
}

fn tool(tool: &ToolSpec) -> Value {
    let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
    json!({"type": "function", "function": function})
}

/// A whole answer, or one line of a stream.
#[derive(Deserialize)]
struct Response {
    message: Option<Message>,
    #[serde(default, deserialize_with = "lenient")]
    done: bool,
    #[serde(default, deserialize_with = "lenient")]
    prompt_eval_count: i64,
    #[serde(default, deserialize_with = "lenient")]
    prompt_eval_cached_count: i64,
    #[serde(default, deserialize_with = "lenient")]
    eval_count: i64,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "lenient")]
    content: String,
    #[serde(default, deserialize_with = "lenient")]
    thinking: String,
    #[serde(default, deserialize_with = "lenient")]
    reasoning_content: String,
    #[serde(default, deserialize_with = "list")]
    tool_calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: Option<Box<RawValue>>,
}

pub(super) fn read_whole(body: &[u8], answer: &mut Answer) -> Result<(), Fault> {
    take(read(body)?, answer).map(drop)
}

pub(super) fn read_line(line: &str, answer: &mut Answer) -> Result<Flow, Fault> {
    take(read(line.as_bytes())?, answer)
}

fn take(response: Response, answer: &mut Answer) -> Result<Flow, Fault> {
    let error = text(response.error.as_deref());
    if !error.is_empty() {
        return Err(Fault::Reported(error.to_owned()));
    }
    if let Some(message) = response.message {
        answer.think(&message.thinking)?;
        answer.think(&message.reasoning_content)?;
        answer.say(&message.content)?;
        for call in message.tool_calls {
            let id = if call.id.is_empty() { format!("call_{}", Uuid::now_v7().simple()) } else { call.id };
            let arguments = text(call.function.arguments.as_deref());
            answer.call(answer.next_call(), &id, &call.function.name, arguments)?;
        }
    }
    if !response.done {
        return Ok(Flow::GoesOn);
    }
    answer.has_stop_reason = true;
    let (input_tokens, output_tokens) = (response.prompt_eval_count, response.eval_count);
    answer.usage = Usage {
        input_tokens,
        output_tokens,
        total_tokens: input_tokens.saturating_add(output_tokens),
        cache_read_tokens: response.prompt_eval_cached_count,
        ..Usage::default()
    };
    Ok(Flow::Ends)
}
