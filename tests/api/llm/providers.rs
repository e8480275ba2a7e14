//! The other providers' APIs: the right path under `base_url`, the key in the right header, and an answer understood.

use colloquy::{
    config::{ModelSettings, Provider},
    llm::{ErrorKind, ModelReply, ModelRequest, Models, PromptMessage, ToolCall},
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
