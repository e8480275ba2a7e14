//! Our requests in the library's words, and its answers in ours.

use genai::{
    adapter::AdapterKind,
    chat::{
        ChatMessage, ChatRequest, ChatResponse, ChatRole, MessageContent, StreamEnd, Tool, ToolCall as TheirCall,
        ToolResponse, Usage as TheirUsage,
    },
};
use serde_json::{Map, Value, json};

use crate::llm::{ModelRequest, PromptMessage, ToolCall, ToolSpec, Usage};

pub(super) fn to_chat_request(request: &ModelRequest, adapter: AdapterKind) -> ChatRequest {
    let messages = request.messages.chunk_by(|a, b| is_tool_result(a) && is_tool_result(b));
    let chat = ChatRequest {
        system: request.system.clone(),
        messages: messages.flat_map(|group| to_chat_messages(group, adapter)).collect(),
        ..ChatRequest::default()
    };
    if request.tools.is_empty() {
        return chat;
    }
    chat.with_tools(request.tools.iter().map(to_tool))
}

fn is_tool_result(message: &PromptMessage) -> bool {
    matches!(message, PromptMessage::Tool { .. })
}

/// A group is one message, or the results of one turn's tool calls: Anthropic and Gemini want those together, Ollama
/// one by one.
fn to_chat_messages(group: &[PromptMessage], adapter: AdapterKind) -> Vec<ChatMessage> {
    let messages = group.iter().map(|message| to_chat_message(message, adapter));
    if group.len() == 1 || adapter == AdapterKind::Ollama {
        return messages.collect();
    }
    let results: MessageContent = messages.flat_map(|message| message.content.into_parts()).collect();
    vec![ChatMessage::tool(results)]
}

fn to_chat_message(message: &PromptMessage, adapter: AdapterKind) -> ChatMessage {
    match message {
        PromptMessage::User(text) => ChatMessage::user(text.as_str()),
        PromptMessage::Tool { call_id, name, content } => {
            ChatMessage::from(ToolResponse::new(call_id, content).with_fn_name(name))
        }
        PromptMessage::Assistant { content, tool_calls } => {
            let calls = tool_calls.iter().map(|call| to_their_call(call, adapter)).collect();
            let text = content.iter().filter(|text| !text.is_empty()).map(String::as_str);
            let mut parts: MessageContent = text.map(Into::into).collect();
            parts = parts.extended(MessageContent::from_tool_calls(calls));
            ChatMessage::new(ChatRole::Assistant, parts)
        }
    }
}

fn to_their_call(call: &ToolCall, adapter: AdapterKind) -> TheirCall {
    // Only OpenAI takes arguments as text; the others refuse a whole conversation in which a model once sent nonsense.
    let must_wrap = adapter != AdapterKind::OpenAI && !call.arguments.is_object();
    let arguments = if must_wrap { json!({"arguments": call.arguments}) } else { call.arguments.clone() };
    TheirCall {
        call_id: call.id.clone(),
        fn_name: call.name.clone(),
        fn_arguments: arguments,
        thought_signatures: None,
    }
}

fn to_tool(spec: &ToolSpec) -> Tool {
    Tool::new(spec.name).with_description(spec.description).with_schema(spec.parameters.clone())
}

/// What a provider answered, before it becomes a reply.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) content: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) usage: Usage,
    pub(super) response_id: Option<String>,
    has_stop_reason: bool,
}

impl Answer {
    pub(super) fn from_response(response: ChatResponse) -> Self {
        let (content, tool_calls) = split(response.content);
        Self {
            content,
            reasoning: response.reasoning_content.filter(|text| !text.is_empty()),
            tool_calls,
            usage: to_usage(&response.usage),
            response_id: response.captured_raw_body.as_ref().and_then(response_id),
            has_stop_reason: response.stop_reason.is_some(),
        }
    }

    pub(super) fn from_stream(end: StreamEnd) -> Self {
        let (content, tool_calls) = end.captured_content.map(split).unwrap_or_default();
        Self {
            content,
            reasoning: end.captured_reasoning_content.filter(|text| !text.is_empty()),
            tool_calls,
            usage: end.captured_usage.as_ref().map(to_usage).unwrap_or_default(),
            response_id: end.captured_response_id,
            has_stop_reason: end.captured_stop_reason.is_some(),
        }
    }

    /// Nothing said and no reason given, such as an empty list of choices. A model may well say nothing on purpose.
    pub(super) fn is_missing(&self) -> bool {
        !self.has_stop_reason && self.content.is_none() && self.reasoning.is_none() && self.tool_calls.is_empty()
    }
}

fn split(content: MessageContent) -> (Option<String>, Vec<ToolCall>) {
    let text = content.texts().concat();
    let calls = content.into_tool_calls().into_iter().map(from_their_call).collect();
    ((!text.is_empty()).then_some(text), calls)
}

fn from_their_call(call: TheirCall) -> ToolCall {
    ToolCall { id: call.call_id, name: call.fn_name, arguments: read_arguments(call.fn_arguments) }
}

/// Models send nothing at all for a tool without arguments, and sometimes broken JSON, which is left for the tool to
/// complain about: the model reads its complaint and tries again.
fn read_arguments(arguments: Value) -> Value {
    match arguments {
        Value::Null => Value::Object(Map::new()),
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        arguments => arguments,
    }
}

/// Reads an OpenAI answer that the library has refused: it insists on tool arguments that are valid JSON.
pub(super) fn rescue(error: &genai::Error, adapter: AdapterKind) -> Option<Answer> {
    let genai::Error::ChatResponseGeneration { response_body, .. } = error else { return None };
    if adapter != AdapterKind::OpenAI {
        return None;
    }
    let message = response_body.pointer("/choices/0/message")?;
    let calls = message.get("tool_calls")?.as_array()?.iter().map(read_call).collect::<Option<Vec<_>>>()?;
    let content = message.get("content").and_then(Value::as_str).filter(|text| !text.is_empty());
    let usage = response_body.get("usage").and_then(|usage| serde_json::from_value::<TheirUsage>(usage.clone()).ok());
    Some(Answer {
        content: content.map(str::to_owned),
        tool_calls: calls,
        usage: usage.as_ref().map(to_usage).unwrap_or_default(),
        response_id: response_id(response_body),
        ..Answer::default()
    })
}

fn read_call(call: &Value) -> Option<ToolCall> {
    let text = |pointer| call.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let arguments = call.pointer("/function/arguments").cloned().unwrap_or_default();
    Some(ToolCall { id: text("/id")?, name: text("/function/name")?, arguments: read_arguments(arguments) })
}

/// The provider's id of an answer: `id` (OpenAI, Anthropic), `message.id` (Anthropic's stream), `responseId` (Gemini).
pub(super) fn response_id(body: &Value) -> Option<String> {
    let id = ["/id", "/message/id", "/responseId"].into_iter().find_map(|pointer| body.pointer(pointer)?.as_str());
    id.map(str::to_owned)
}

fn to_usage(usage: &TheirUsage) -> Usage {
    let count = |tokens: Option<i32>| i64::from(tokens.unwrap_or_default());
    let prompt = usage.prompt_tokens_details.as_ref();
    let completion = usage.completion_tokens_details.as_ref();
    let (input_tokens, output_tokens) = (count(usage.prompt_tokens), count(usage.completion_tokens));
    Usage {
        input_tokens,
        output_tokens,
        total_tokens: usage.total_tokens.map_or(input_tokens + output_tokens, i64::from),
        reasoning_tokens: count(completion.and_then(|details| details.reasoning_tokens)),
        cache_read_tokens: count(prompt.and_then(|details| details.cached_tokens)),
        cache_write_tokens: count(prompt.and_then(|details| details.cache_creation_tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_where_possible_and_otherwise_as_they_came() {
        assert_eq!(read_arguments(json!(r#"{"a": 1}"#)), json!({"a": 1}));
        assert_eq!(read_arguments(json!("")), json!({}));
        assert_eq!(read_arguments(Value::Null), json!({}));
        assert_eq!(read_arguments(json!("{broken")), json!("{broken"));
        assert_eq!(read_arguments(json!([1])), json!([1]));
    }

    #[test]
    fn results_of_one_turn_travel_together_except_to_ollama() {
        let result = |id: &str| PromptMessage::Tool { call_id: id.into(), name: "t".into(), content: "ok".into() };
        let messages =
            vec![PromptMessage::User("hi".into()), result("1"), result("2"), PromptMessage::User("so".into())];
        let request = ModelRequest { messages, ..ModelRequest::default() };
        assert_eq!(to_chat_request(&request, AdapterKind::Anthropic).messages.len(), 3);
        assert_eq!(to_chat_request(&request, AdapterKind::Ollama).messages.len(), 4);
    }

    #[test]
    fn a_total_that_the_provider_left_out_is_added_up() {
        let theirs = TheirUsage { prompt_tokens: Some(3), completion_tokens: Some(4), ..TheirUsage::default() };
        assert_eq!(to_usage(&theirs).total_tokens, 7);
    }
}
