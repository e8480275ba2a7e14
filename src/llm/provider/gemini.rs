//! Google's Gemini API.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{
    answer::{Answer, Flow},
    dialect::{self, Turn},
    json::{lenient, list, read, text},
    wire::Fault,
};
use crate::{
    config::ModelSettings,
    llm::{ModelRequest, PromptMessage, ToolSpec},
    model::{ToolCall, Usage},
};

/// Prefix of the ids that we give to calls without one. They are not sent back to the API.
const OWN_ID: &str = "call#";
/// Gemini 3 requires a signature on the first call of a turn, and accepts this value instead of its own.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

pub(super) fn body(settings: &ModelSettings, request: &ModelRequest) -> Value {
    let mut body = json!({});
    if let Some(system) = &request.system {
        body["systemInstruction"] = json!({"parts": [{"text": system}]});
    }
    if !request.tools.is_empty() {
        body["tools"] = json!([{"functionDeclarations": request.tools.iter().map(tool).collect::<Vec<_>>()}]);
    }
    let wants_signatures = settings.id.contains("gemini-3");
    body["contents"] = dialect::turns(&request.messages).filter_map(|turn| content(turn, wants_signatures)).collect();
    let mut generation = json!({"thinkingConfig": {"includeThoughts": true}});
    if let Some(response) = &request.response {
        generation["responseMimeType"] = "application/json".into();
        generation["responseJsonSchema"] = response.schema.clone();
    }
    if let Some(temperature) = settings.temperature {
        generation["temperature"] = temperature.into();
    }
    if let Some(max_tokens) = settings.max_tokens {
        generation["maxOutputTokens"] = max_tokens.into();
    }
    body["generationConfig"] = generation;
    body
}

fn content(turn: Turn<'_>, wants_signatures: bool) -> Option<Value> {
    Some(match turn {
        Turn::User(text) => json!({"role": "user", "parts": [{"text": text}]}),
        Turn::Assistant { content, tool_calls } => {
            let said = content.map(|text| json!({"text": text}));
            let mut calls: Vec<Value> = tool_calls.iter().map(function_call).collect();
            if let (true, Some(first)) = (wants_signatures, calls.first_mut()) {
                first["thoughtSignature"] = NO_SIGNATURE.into();
            }
            let parts: Vec<Value> = said.into_iter().chain(calls).collect();
            if parts.is_empty() {
                return None;
            }
            json!({"role": "model", "parts": parts})
        }
        Turn::Results(results) => {
            let parts = results.iter().filter_map(|result| match result {
                PromptMessage::Tool { call_id, name, content } => {
                    let mut response = json!({"name": name, "response": {"name": name, "content": content}});
                    add_id(&mut response, call_id);
                    Some(json!({"functionResponse": response}))
                }
                _ => None,
            });
            json!({"role": "user", "parts": parts.collect::<Vec<_>>()})
        }
    })
}

fn function_call(call: &ToolCall) -> Value {
    let mut function = json!({"name": call.name, "args": dialect::object(&call.arguments)});
    add_id(&mut function, &call.id);
    json!({"functionCall": function})
}

fn add_id(to: &mut Value, id: &str) {
    if !id.starts_with(OWN_ID) {
        to["id"] = id.into();
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters})
}

/// A whole answer, or one event of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    #[serde(default, deserialize_with = "list")]
    candidates: Vec<Candidate>,
    #[serde(default, deserialize_with = "lenient")]
    usage_metadata: Option<TheirUsage>,
    #[serde(default, rename = "responseId", deserialize_with = "lenient")]
    id: Option<String>,
    /// Why the prompt was blocked.
    prompt_feedback: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    #[serde(default, deserialize_with = "lenient")]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default, deserialize_with = "list")]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(default, deserialize_with = "lenient")]
    text: String,
    #[serde(default, deserialize_with = "lenient")]
    thought: bool,
    function_call: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    name: String,
    args: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct TheirUsage {
    #[serde(default, rename = "promptTokenCount", deserialize_with = "lenient")]
    prompt: i64,
    #[serde(default, rename = "toolUsePromptTokenCount", deserialize_with = "lenient")]
    tool_results: i64,
    #[serde(default, rename = "candidatesTokenCount", deserialize_with = "lenient")]
    answer: i64,
    #[serde(default, rename = "thoughtsTokenCount", deserialize_with = "lenient")]
    thoughts: i64,
    #[serde(default, rename = "cachedContentTokenCount", deserialize_with = "lenient")]
    cached: i64,
    #[serde(default, rename = "totalTokenCount", deserialize_with = "lenient")]
    total: Option<i64>,
}

pub(super) fn read_whole(body: &[u8], answer: &mut Answer) -> Result<(), Fault> {
    take(read(body)?, answer).map(drop)
}

pub(super) fn read_event(data: &str, answer: &mut Answer) -> Result<Flow, Fault> {
    take(read(data.as_bytes())?, answer)
}

/// In a stream, the last event has the finish reason.
fn take(answered: Answered, answer: &mut Answer) -> Result<Flow, Fault> {
    let error = text(answered.error.as_deref());
    if !error.is_empty() {
        return Err(Fault::Reported(error.to_owned()));
    }
    if let Some(usage) = answered.usage_metadata {
        answer.usage = usage.into();
    }
    if answer.response_id.is_none() {
        answer.response_id = answered.id;
    }
    let Some(candidate) = answered.candidates.into_iter().next() else {
        return match text(answered.prompt_feedback.as_deref()) {
            "" => Ok(Flow::GoesOn),
            feedback => Err(Fault::Reported(feedback.to_owned())),
        };
    };
    for part in candidate.content.map(|content| content.parts).unwrap_or_default() {
        if let Some(call) = part.function_call {
            let id = if call.id.is_empty() { format!("{OWN_ID}{}", Uuid::now_v7().simple()) } else { call.id };
            answer.call(answer.next_call(), &id, &call.name, text(call.args.as_deref()))?;
        } else if part.thought {
            answer.think(&part.text)?;
        } else {
            answer.say(&part.text)?;
        }
    }
    if candidate.finish_reason.is_none() {
        return Ok(Flow::GoesOn);
    }
    answer.has_stop_reason = true;
    Ok(Flow::Ends)
}

impl From<TheirUsage> for Usage {
    /// Adds the reasoning tokens to the output, and the results of built-in tools to the input: Gemini counts them
    /// separately.
    fn from(theirs: TheirUsage) -> Self {
        let input_tokens = theirs.prompt.saturating_add(theirs.tool_results);
        let output_tokens = theirs.answer.saturating_add(theirs.thoughts);
        Self {
            input_tokens,
            output_tokens,
            total_tokens: theirs.total.unwrap_or(input_tokens.saturating_add(output_tokens)),
            reasoning_tokens: theirs.thoughts,
            cache_read_tokens: theirs.cached,
            cache_write_tokens: 0,
        }
    }
}
