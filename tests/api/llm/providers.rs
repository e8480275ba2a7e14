//! The other providers' APIs: the right path under `base_url`, the key in the right header, and an answer understood.

use colloquy::testing::{
    config::{ModelSettings, Provider},
    llm::{ErrorKind, ModelReply, ModelRequest, Models, PromptMessage, ResponseSchema, ToolSpec},
    model::ToolCall,
};
use serde_json::{Value, json};

use super::{
    KEY, fast,
    scripted_model::{Behaviour, ScriptedModel},
    user,
};

fn provider(server: &ScriptedModel, provider: Provider) -> Models {
    fast(server, |settings| *settings = ModelSettings { provider, id: "m".into(), ..settings.clone() })
}

async fn complete(server: &ScriptedModel, models: &Models, answer: &Value) -> ModelReply {
    server.then(Behaviour::Raw(answer.to_string()));
    models.complete("fast", &user("hi")).await.expect("the canned answer is understood")
}

/// The body of a stream, as the server would send it.
fn stream_body(body: &str) -> Behaviour {
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    Behaviour::Status { status: 200, headers, body: body.to_owned() }
}

async fn stream(server: &ScriptedModel, models: &Models, body: &str) -> Result<ModelReply, ErrorKind> {
    server.then(stream_body(body));
    models.stream("fast", &user("hi"), &mut |_| {}).await.map_err(|error| error.kind)
}

#[tokio::test]
async fn anthropic() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Anthropic);
    let content = json!([{"type": "text", "text": "Hello"}]);
    let usage =
        json!({"input_tokens": 2, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5});
    let answer = json!({"id": "msg_1", "content": content, "stop_reason": "end_turn", "usage": usage});
    let reply = complete(&server, &models, &answer).await;
    assert_eq!((reply.content.as_deref(), reply.response_id.as_deref()), (Some("Hello"), Some("msg_1")));
    assert_eq!(reply.model.provider, "Anthropic");
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens), (11, 3, 14));
    assert_eq!((reply.usage.cache_read_tokens, reply.usage.cache_write_tokens), (4, 5));
    let sent = &server.recorded()[0];
    assert_eq!((sent.path.as_str(), &sent.headers["x-api-key"]), ("/v1/messages", &KEY.parse().unwrap()));
}

const ANTHROPIC_STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_2","usage":{"input_tokens":2,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}

event: message_stop
data: {"type":"message_stop"}

"#;

#[tokio::test]
async fn anthropic_streams() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Anthropic);
    let reply = stream(&server, &models, ANTHROPIC_STREAM).await.unwrap();
    assert_eq!((reply.content.as_deref(), reply.response_id.as_deref()), (Some("Hello"), Some("msg_2")));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (2, 3));
    let cut = ANTHROPIC_STREAM.split("event: message_stop").next().unwrap();
    assert_eq!(stream(&server, &models, cut).await.unwrap_err(), ErrorKind::Unreadable);
}

#[tokio::test]
async fn gemini() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Gemini);
    let candidate = json!({"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"});
    let usage = json!({"promptTokenCount": 2, "candidatesTokenCount": 3, "totalTokenCount": 5});
    let answer = json!({"responseId": "r1", "candidates": [candidate], "usageMetadata": usage});
    let reply = complete(&server, &models, &answer).await;
    assert_eq!((reply.content.as_deref(), reply.response_id.as_deref()), (Some("Hello"), Some("r1")));
    assert_eq!((reply.model.provider.as_str(), reply.usage.total_tokens), ("Google", 5));
    let sent = &server.recorded()[0];
    assert_eq!(sent.path, "/v1/models/m:generateContent");
    assert_eq!(sent.headers["x-goog-api-key"], KEY);
    let streamed = stream(&server, &models, &format!("data: {answer}\n\n")).await.unwrap();
    assert_eq!((streamed.content.as_deref(), streamed.response_id.as_deref()), (Some("Hello"), Some("r1")));
    assert_eq!(server.recorded()[1].path, "/v1/models/m:streamGenerateContent?alt=sse");
    let cut = json!({"candidates": [{"content": {"parts": [{"text": "Hel"}]}}]});
    assert_eq!(stream(&server, &models, &format!("data: {cut}\n\n")).await.unwrap_err(), ErrorKind::Unreadable);
}

#[tokio::test]
async fn ollama() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Ollama);
    let message = json!({"role": "assistant", "content": "Hello"});
    let answer =
        json!({"message": message, "done": true, "done_reason": "stop", "prompt_eval_count": 2, "eval_count": 3});
    let reply = complete(&server, &models, &answer).await;
    assert_eq!((reply.content.as_deref(), reply.usage.total_tokens), (Some("Hello"), 5));
    let sent = &server.recorded()[0];
    assert_eq!(
        (sent.path.as_str(), &sent.headers["authorization"]),
        ("/v1/api/chat", &format!("Bearer {KEY}").parse().unwrap())
    );
    let streamed = stream(&server, &models, &format!("{answer}\n")).await.unwrap();
    assert_eq!(streamed.content.as_deref(), Some("Hello"));
    let cut = json!({"message": message, "done": false});
    assert_eq!(stream(&server, &models, &format!("{cut}\n")).await.unwrap_err(), ErrorKind::Unreadable);
}

#[tokio::test]
async fn broken_arguments_in_a_history_reach_anthropic_as_an_object() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Anthropic);
    let call = ToolCall { id: "1".into(), name: "add".into(), arguments: json!("{broken") };
    let messages = vec![
        PromptMessage::User("add".into()),
        PromptMessage::Assistant { content: Some("Adding.".into()), tool_calls: vec![call] },
        PromptMessage::Tool { call_id: "1".into(), name: "add".into(), content: "not JSON".into() },
    ];
    server.then(Behaviour::Raw(
        json!({"content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn"}).to_string(),
    ));
    models.complete("fast", &ModelRequest { messages, ..ModelRequest::default() }).await.unwrap();
    let sent = &server.requests()[0]["messages"][1]["content"];
    assert_eq!((&sent[0]["text"], &sent[1]["input"]), (&json!("Adding."), &json!({"arguments": "{broken"})));
}

/// A question with two tools, one of which was called twice before, and an answer that has to be JSON.
fn everything() -> ModelRequest {
    let tool =
        |name| ToolSpec { name, description: "A tool.", parameters: json!({"type": "object", "properties": {}}) };
    let call = |id: &str| ToolCall { id: id.into(), name: "add".into(), arguments: json!({"a": 1}) };
    let result = |id: &str| PromptMessage::Tool { call_id: id.into(), name: "add".into(), content: "2".into() };
    ModelRequest {
        system: Some("Be brief.".into()),
        messages: vec![
            PromptMessage::User("add".into()),
            PromptMessage::Assistant { content: None, tool_calls: vec![call("x"), call("y")] },
            result("x"),
            result("y"),
        ],
        tools: vec![tool("add"), tool("now")],
        response: Some(ResponseSchema { name: "sum", schema: json!({"type": "object"}) }),
    }
}

/// The body of a request for [`everything`], whose answer does not matter.
async fn sent(provider: Provider, id: &str) -> Value {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| {
        *settings =
            ModelSettings { provider, id: id.into(), temperature: Some(0.5), max_tokens: Some(77), ..settings.clone() };
    });
    let _ = models.complete("fast", &everything()).await;
    server.requests().remove(0)
}

#[tokio::test]
async fn a_request_has_everything_in_openais_words() {
    let body = sent(Provider::OpenAi, "m").await;
    let calls = json!(["x", "y"].map(|id| json!({
        "type": "function", "id": id, "function": {"name": "add", "arguments": "{\"a\":1}"},
    })));
    let result = |id| json!({"role": "tool", "content": "2", "tool_call_id": id});
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        result("x"),
        result("y"),
    ]);
    let tools = json!(["add", "now"].map(|name| json!({"type": "function", "function": {
        "name": name, "description": "A tool.", "parameters": {"type": "object", "properties": {}}, "strict": false,
    }})));
    let form =
        json!({"type": "json_schema", "json_schema": {"name": "sum", "strict": true, "schema": {"type": "object"}}});
    assert_eq!(
        body,
        json!({
            "model": "m", "stream": false, "tools": tools, "messages": messages, "response_format": form,
            "temperature": 0.5, "max_tokens": 77,
        })
    );
}

#[tokio::test]
async fn a_request_has_everything_in_anthropics_words() {
    let body = sent(Provider::Anthropic, "m").await;
    let call = |id| json!({"type": "tool_use", "id": id, "name": "add", "input": {"a": 1}});
    let result = |id| json!({"type": "tool_result", "tool_use_id": id, "content": "2"});
    let messages = json!([
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": [call("x"), call("y")]},
        {"role": "user", "content": [result("x"), result("y")]},
    ]);
    let tools = json!(["add", "now"].map(|name| json!({
        "name": name, "description": "A tool.", "input_schema": {"type": "object", "properties": {}},
    })));
    let form = json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
    assert_eq!(
        body,
        json!({
            "model": "m", "stream": false, "system": "Be brief.", "tools": tools, "messages": messages,
            "output_config": form, "temperature": 0.5, "max_tokens": 77,
        })
    );
}

#[tokio::test]
async fn a_request_has_everything_in_geminis_words() {
    let body = sent(Provider::Gemini, "gemini-3-pro").await;
    let call = |id| json!({"functionCall": {"name": "add", "args": {"a": 1}, "id": id}});
    let mut first = call("x");
    first["thoughtSignature"] = "skip_thought_signature_validator".into();
    let result = |id| {
        let response = json!({"name": "add", "content": "2"});
        json!({"functionResponse": {"name": "add", "response": response, "id": id}})
    };
    let contents = json!([
        {"role": "user", "parts": [{"text": "add"}]},
        {"role": "model", "parts": [first, call("y")]},
        {"role": "user", "parts": [result("x"), result("y")]},
    ]);
    let tools = json!(["add", "now"].map(|name| json!({
        "name": name, "description": "A tool.", "parametersJsonSchema": {"type": "object", "properties": {}},
    })));
    let generation = json!({
        "thinkingConfig": {"includeThoughts": true}, "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"}, "temperature": 0.5, "maxOutputTokens": 77,
    });
    assert_eq!(
        body,
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]}, "tools": [{"functionDeclarations": tools}],
            "contents": contents, "generationConfig": generation,
        })
    );
}

#[tokio::test]
async fn a_request_has_everything_in_ollamas_words() {
    let body = sent(Provider::Ollama, "m").await;
    let call = json!({"function": {"name": "add", "arguments": {"a": 1}}});
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "add"},
        {"role": "assistant", "tool_calls": [call, call]},
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "2"},
    ]);
    let tools = json!(["add", "now"].map(|name| json!({"type": "function", "function": {
        "name": name, "description": "A tool.", "parameters": {"type": "object", "properties": {}},
    }})));
    let options = json!({"temperature": 0.5, "num_predict": 77});
    assert_eq!(body, json!({"model": "m", "stream": false, "options": options, "tools": tools, "messages": messages}));
}

fn calls(reply: &ModelReply) -> Vec<(&str, &Value)> {
    reply.tool_calls.iter().map(|call| (call.name.as_str(), &call.arguments)).collect()
}

#[tokio::test]
async fn anthropic_calls_tools() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Anthropic);
    let thought = json!({"type": "thinking", "thinking": "Add.", "signature": "s"});
    let call = |id, name, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let content = json!([thought, call("a", "add", json!({"n": 1})), call("b", "now", json!({}))]);
    let whole = complete(&server, &models, &json!({"content": content, "stop_reason": "tool_use"})).await;
    let event = |event: Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    let delta = |index, delta: Value| event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    let start =
        |index, block: Value| event(json!({"type": "content_block_start", "index": index, "content_block": block}));
    let piece = |text| json!({"type": "input_json_delta", "partial_json": text});
    let body = [
        event(json!({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 5}}})),
        start(0, json!({"type": "thinking", "thinking": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Add."})),
        delta(0, json!({"type": "signature_delta", "signature": "s"})),
        start(1, call("a", "add", json!({}))),
        event(json!({"type": "ping"})),
        delta(1, piece("{\"n\"")),
        start(2, call("b", "now", json!({}))),
        delta(1, piece(": 1}")),
        event(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}})),
        event(json!({"type": "message_stop"})),
    ];
    let streamed = stream(&server, &models, &body.concat()).await.unwrap();
    assert_eq!((streamed.usage.input_tokens, streamed.usage.output_tokens, streamed.usage.total_tokens), (5, 3, 8));
    for reply in [whole, streamed] {
        assert_eq!(calls(&reply), [("add", &json!({"n": 1})), ("now", &json!({}))]);
        assert_eq!(reply.tool_calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((reply.content.as_deref(), reply.reasoning.as_deref()), (None, Some("Add.")));
    }
    let overloaded = event(json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}));
    assert_eq!(stream(&server, &models, &overloaded).await.unwrap_err(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn gemini_calls_tools() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Gemini);
    let parts = json!([
        {"text": "Add.", "thought": true},
        {"functionCall": {"name": "add", "args": {"n": 1}}},
        {"functionCall": {"name": "now", "id": "b"}},
    ]);
    let answer = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});
    let whole = complete(&server, &models, &answer).await;
    let streamed = stream(&server, &models, &format!("data: {answer}\n\n")).await.unwrap();
    for reply in [whole, streamed] {
        assert_eq!(calls(&reply), [("add", &json!({"n": 1})), ("now", &json!({}))]);
        assert_eq!((reply.reasoning.as_deref(), reply.tool_calls[1].id.as_str()), (Some("Add."), "b"));
        assert!(!reply.tool_calls[0].id.is_empty());
    }
    let refused = json!({"promptFeedback": {"blockReason": "SAFETY"}});
    assert_eq!(stream(&server, &models, &format!("data: {refused}\n\n")).await.unwrap_err(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn ollama_calls_tools() {
    let server = ScriptedModel::start().await;
    let models = provider(&server, Provider::Ollama);
    let call = |name, arguments: Value| json!({"function": {"name": name, "arguments": arguments}});
    let message = json!({"thinking": "Add.", "tool_calls": [call("add", json!({"n": 1})), call("now", json!({}))]});
    let said = json!({"message": message, "done": false});
    let end = json!({"message": {"content": ""}, "done": true, "done_reason": "stop", "eval_count": 3});
    let streamed = stream(&server, &models, &format!("{said}\n{end}")).await.unwrap();
    let whole = complete(&server, &models, &json!({"message": message, "done": true})).await;
    for reply in [whole, streamed] {
        assert_eq!(calls(&reply), [("add", &json!({"n": 1})), ("now", &json!({}))]);
        assert_eq!((reply.content.as_deref(), reply.reasoning.as_deref()), (None, Some("Add.")));
        assert_ne!(reply.tool_calls[0].id, reply.tool_calls[1].id);
    }
    assert_eq!(stream(&server, &models, "{\"error\":\"no memory\"}\n").await.unwrap_err(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_last_event_may_lack_its_empty_line_and_lines_may_end_in_any_way() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |_| {});
    let text = json!({"choices": [{"delta": {"content": "Hellö"}, "message": {"content": "something else"}}]});
    for body in [
        format!("data: {text}\n\ndata: [DONE]"),
        format!("\u{feff}: comment\r\n\r\ndata:{text}\r\n\r\ndata:[DONE]\r\n\r\n"),
        format!("event: message\rdata: {text}\r\rdata: [DONE]\r\r"),
        format!("data: {{\"choices\":\ndata: {}\ndata: }}\n\ndata: [DONE]\n", text["choices"]),
    ] {
        let reply = stream(&server, &models, &body).await.unwrap_or_else(|error| panic!("{body:?}: {error:?}"));
        assert_eq!(reply.content.as_deref(), Some("Hellö"), "{body:?}");
    }
}
