//! Anthropic's Messages API.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    answer::{Answer, Flow},
    dialect::{self, Turn},
    json::{lenient, list, read, text},
    wire::Fault,
};
use crate::{
    config::ModelSettings,
    llm::{ModelRequest, PromptMessage, ToolSpec},
    model::Usage,
};

pub(super) const VERSION: &str = "2023-06-01";

pub(super) fn body(settings: &ModelSettings, request: &ModelRequest, streamed: bool) -> Value {
    let mut body = json!({"model": settings.id, "stream": streamed});
    if let Some(system) = &request.system {
        body["system"] = system.as_str().into();
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    body["messages"] = dialect::turns(&request.messages).filter_map(message).collect();
    if let Some(response) = &request.response {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": response.schema}});
    }
    if let Some(temperature) = settings.temperature {
        body["temperature"] = temperature.into();
    }
    body["max_tokens"] = settings.max_tokens.unwrap_or_else(|| longest_answer(&settings.id)).into();
    body
}

/// The API requires a limit: the model's maximum output, in tokens.
fn longest_answer(id: &str) -> u32 {
    const LIMITS: [(&str, u32); 13] = [
        ("claude-3-opus", 4_096),
        ("claude-3-haiku", 4_096),
        ("claude-3-sonnet", 4_096),
        ("claude-3-5", 8_192),
        ("claude-opus-4-5", 64_000),
        ("claude-opus-4-6", 64_000),
        ("claude-opus-4-7", 64_000),
        ("claude-opus-4-8", 128_000),
        ("claude-opus-4-9", 128_000),
        ("claude-opus-4", 32_000),
        ("claude-haiku-5", 128_000),
        ("fable", 128_000),
        ("mythos", 128_000),
    ];
    LIMITS.iter().find(|(family, _)| id.contains(family)).map_or(64_000, |(_, limit)| *limit)
}

fn message(turn: Turn<'_>) -> Option<Value> {
    Some(match turn {
        Turn::User(text) => json!({"role": "user", "content": text}),
        Turn::Assistant { content, tool_calls } => {
            let said = content.map(|text| json!({"type": "text", "text": text}));
            let calls = tool_calls.iter().map(|call| {
                let input = dialect::object(&call.arguments);
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
            });
            let blocks: Vec<Value> = said.into_iter().chain(calls).collect();
            if blocks.is_empty() {
                return None;
            }
            json!({"role": "assistant", "content": blocks})
        }
        Turn::Results(results) => {
            let blocks = results.iter().filter_map(|result| match result {
                PromptMessage::Tool { call_id, content, .. } => {
                    Some(json!({"type": "tool_result", "content": content, "tool_use_id": call_id}))
                }
                _ => None,
            });
            json!({"role": "user", "content": blocks.collect::<Vec<_>>()})
        }
    })
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters})
}

/// A whole answer, or the beginning of a streamed one.
#[derive(Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "list")]
    content: Vec<Block>,
    #[serde(default, deserialize_with = "lenient")]
    stop_reason: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    usage: TheirUsage,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default, deserialize_with = "lenient")]
    text: String,
    #[serde(default, deserialize_with = "lenient")]
    thinking: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    name: String,
    input: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    index: usize,
    message: Option<Message>,
    content_block: Option<Block>,
    #[serde(default, deserialize_with = "lenient")]
    delta: Delta,
    #[serde(default, deserialize_with = "lenient")]
    usage: TheirUsage,
    error: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default, deserialize_with = "lenient")]
    text: String,
    #[serde(default, deserialize_with = "lenient")]
    thinking: String,
    #[serde(default, deserialize_with = "lenient")]
    partial_json: String,
    #[serde(default, deserialize_with = "lenient")]
    stop_reason: Option<String>,
}

/// `input_tokens` excludes cached tokens, which are counted separately.
#[derive(Default, Deserialize)]
struct TheirUsage {
    #[serde(default, deserialize_with = "lenient")]
    input_tokens: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    output_tokens: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    cache_creation_input_tokens: i64,
    #[serde(default, deserialize_with = "lenient")]
    cache_read_input_tokens: i64,
    #[serde(default, deserialize_with = "lenient")]
    output_tokens_details: OutputDetails,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    #[serde(default, deserialize_with = "lenient")]
    thinking_tokens: i64,
}

pub(super) fn read_whole(body: &[u8], answer: &mut Answer) -> Result<(), Fault> {
    begin(read(body)?, answer)
}

pub(super) fn read_event(data: &str, answer: &mut Answer) -> Result<Flow, Fault> {
    let event: Event = read(data.as_bytes())?;
    match event.kind.as_str() {
        "error" => return Err(Fault::Reported(text(event.error.as_deref()).to_owned())),
        "message_start" => event.message.map_or(Ok(()), |message| begin(message, answer))?,
        "content_block_start" => {
            if let Some(block) = event.content_block {
                // The arguments of a call come in later pieces; here they are an empty object.
                open(event.index, Block { input: None, ..block }, answer)?;
            }
        }
        "content_block_delta" => {
            answer.say(&event.delta.text)?;
            answer.think(&event.delta.thinking)?;
            if !event.delta.partial_json.is_empty() {
                answer.call(event.index, "", "", &event.delta.partial_json)?;
            }
        }
        "message_delta" => {
            answer.has_stop_reason |= event.delta.stop_reason.is_some();
            count(&event.usage, answer);
        }
        "message_stop" => return Ok(Flow::Ends),
        _ => {}
    }
    Ok(Flow::GoesOn)
}

fn begin(message: Message, answer: &mut Answer) -> Result<(), Fault> {
    let error = text(message.error.as_deref());
    if !error.is_empty() {
        return Err(Fault::Reported(error.to_owned()));
    }
    answer.response_id = message.id;
    answer.has_stop_reason |= message.stop_reason.is_some();
    count(&message.usage, answer);
    message.content.into_iter().enumerate().try_for_each(|(index, block)| open(index, block, answer))
}

fn open(index: usize, block: Block, answer: &mut Answer) -> Result<(), Fault> {
    match block.kind.as_str() {
        "text" => answer.say(&block.text),
        "thinking" => {
            let separator = if answer.reasoning.is_empty() { "" } else { "\n" };
            answer.think(separator)?;
            answer.think(&block.thinking)
        }
        "tool_use" => answer.call(index, &block.id, &block.name, text(block.input.as_deref())),
        _ => Ok(()),
    }
}

/// Later counts in a stream replace earlier ones; missing counts change nothing.
fn count(theirs: &TheirUsage, answer: &mut Answer) {
    let usage = &mut answer.usage;
    let (written, read) = (theirs.cache_creation_input_tokens, theirs.cache_read_input_tokens);
    if let Some(input) = theirs.input_tokens {
        usage.input_tokens = input.saturating_add(written).saturating_add(read);
    }
    if written > 0 || read > 0 {
        (usage.cache_write_tokens, usage.cache_read_tokens) = (written, read);
    }
    if let Some(output) = theirs.output_tokens {
        usage.output_tokens = output;
    }
    usage.reasoning_tokens = usage.reasoning_tokens.max(theirs.output_tokens_details.thinking_tokens);
    *usage = Usage { total_tokens: usage.input_tokens.saturating_add(usage.output_tokens), ..*usage };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_limit() {
        assert_eq!(longest_answer("claude-3-5-haiku-latest"), 8_192);
        assert_eq!(longest_answer("claude-opus-4-1"), 32_000);
        assert_eq!(longest_answer("claude-opus-4-6"), 64_000);
        assert_eq!(longest_answer("claude-sonnet-5"), 64_000);
    }
}
