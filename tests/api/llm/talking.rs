//! Calls that succeed: what goes out and what comes back.

use std::time::Duration;

use colloquy::testing::{
    llm::{ModelRequest, PromptMessage, ToolSpec},
    model::ToolCall,
};
use serde_json::json;

use super::{
    KEY, UNSET, fast,
    scripted_model::{Behaviour, ScriptedModel, reply, reply_with_tool_call, reply_with_tool_calls, slow_pieces},
    unchanged, user,
};

#[tokio::test]
async fn a_whole_answer_has_content_usage_and_ids() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    let reply = models.complete("fast", &user("how are you")).await.unwrap();
    assert_eq!(reply.content.as_deref(), Some("Hello! You said: how are you"));
    assert_eq!(reply.response_id.as_deref(), Some("chatcmpl-scripted"));
    assert_eq!((reply.model.id.as_str(), reply.model.provider.as_str()), ("scripted", "OpenAI"));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens), (3, 6, 9));
    assert_eq!((reply.usage.reasoning_tokens, reply.usage.cache_read_tokens), (1, 1));
    assert_eq!(reply.time_to_first_token, reply.duration);
}

#[tokio::test]
async fn a_stream_hands_out_pieces_and_returns_the_whole() {
    let server = ScriptedModel::start().await;
    server.then(slow_pieces(Duration::from_millis(20), "one two three"));
    let mut pieces = Vec::new();
    let models = fast(&server, unchanged);
    let reply = models.stream("fast", &user("count"), &mut |piece| pieces.push(piece.to_owned())).await.unwrap();
    assert_eq!(pieces, ["one ", "two ", "three"]);
    assert_eq!(reply.content.as_deref(), Some("one two three"));
    assert_eq!(reply.response_id.as_deref(), Some("chatcmpl-scripted"));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens), (1, 3, 1));
    assert!(reply.time_to_first_token < reply.duration);
    assert_eq!(server.requests()[0]["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn settings_and_key_are_sent_and_the_models_name_stays_whole() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| {
        settings.id = "qwen-max".into();
        settings.temperature = Some(0.5);
        settings.max_tokens = Some(77);
    });
    models.complete("fast", &user("hi")).await.unwrap();
    let sent = &server.recorded()[0];
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!(sent.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!((&sent.body["model"], &sent.body["max_tokens"]), (&json!("qwen-max"), &json!(77)));
    assert_eq!((&sent.body["temperature"], sent.body.get("reasoning_effort")), (&json!(0.5), None));
}

#[tokio::test]
async fn without_a_key_no_authorization_is_sent() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.api_key_env = Some(UNSET.into()));
    models.complete("fast", &user("hi")).await.unwrap();
    models.stream("fast", &user("hi"), &mut |_| {}).await.unwrap();
    for sent in server.recorded() {
        assert_eq!(sent.path, "/v1/chat/completions");
        assert!(!sent.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn tool_calls_come_back_the_same_from_both_ways() {
    let server = ScriptedModel::start().await;
    server.otherwise(|_| reply_with_tool_calls(&[("add", r#"{"a": 1, "b": 2}"#), ("now", "")]));
    let tool =
        |name| ToolSpec { name, description: "A tool.", parameters: json!({"type": "object", "properties": {}}) };
    let request = ModelRequest { tools: vec![tool("add"), tool("now")], ..user("use them") };
    let models = fast(&server, unchanged);
    let whole = models.complete("fast", &request).await.unwrap();
    let streamed = models.stream("fast", &request, &mut |_| panic!("there is no content")).await.unwrap();
    let expected = [
        ToolCall { id: "call_1".into(), name: "add".into(), arguments: json!({"a": 1, "b": 2}) },
        ToolCall { id: "call_2".into(), name: "now".into(), arguments: json!({}) },
    ];
    assert_eq!(whole.tool_calls, expected);
    assert_eq!(streamed.tool_calls, expected);
    assert_eq!((whole.content, streamed.content), (None, None));
    assert_eq!(whole.usage, streamed.usage);
    assert_eq!(whole.response_id, streamed.response_id);
    assert_eq!(server.requests()[0]["tools"][1]["function"]["name"], "now");
}

#[tokio::test]
async fn arguments_that_are_no_object_are_passed_on_as_they_are() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    for (sent, expected) in [("{\"a\": ", json!("{\"a\": ")), ("[1]", json!([1]))] {
        server.then(reply_with_tool_call("add", sent)).then(reply_with_tool_call("add", sent));
        let whole = models.complete("fast", &user("add")).await.unwrap();
        let streamed = models.stream("fast", &user("add"), &mut |_| {}).await.unwrap();
        assert_eq!(whole.tool_calls[0].arguments, expected);
        assert_eq!(streamed.tool_calls[0].arguments, expected);
    }
}

#[tokio::test]
async fn a_conversation_with_tool_results_is_sent_in_order() {
    let server = ScriptedModel::start().await;
    let call = |id: &str| ToolCall { id: id.into(), name: "add".into(), arguments: json!({"a": 1}) };
    let result =
        |id: &str| PromptMessage::Tool { call_id: id.into(), name: "add".into(), content: format!("result of {id}") };
    let messages = vec![
        PromptMessage::User("add twice".into()),
        PromptMessage::Assistant { content: None, tool_calls: vec![call("x"), call("y")] },
        result("x"),
        result("y"),
    ];
    let request = ModelRequest { system: Some("Be brief.".into()), messages, ..ModelRequest::default() };
    fast(&server, unchanged).complete("fast", &request).await.unwrap();
    let sent = &server.requests()[0]["messages"];
    let roles: Vec<_> = sent.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    assert_eq!(sent[2]["tool_calls"][1]["id"], "y");
    assert_eq!((&sent[4]["tool_call_id"], &sent[4]["content"]), (&json!("y"), &json!("result of y")));
}

#[tokio::test]
async fn a_models_silence_is_an_answer() {
    let server = ScriptedModel::start().await;
    server.then(reply("")).then(reply(""));
    let models = fast(&server, unchanged);
    assert_eq!(models.complete("fast", &user("say nothing")).await.unwrap().content, None);
    assert_eq!(models.stream("fast", &user("say nothing"), &mut |_| {}).await.unwrap().content, None);
}

#[tokio::test]
async fn thoughts_are_kept_apart_from_content() {
    let server = ScriptedModel::start().await;
    let message = json!({"role": "assistant", "content": "4", "reasoning_content": "2 and 2"});
    let body = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
    server.then(Behaviour::Raw(body.to_string()));
    let reply = fast(&server, unchanged).complete("fast", &user("2+2")).await.unwrap();
    assert_eq!((reply.content.as_deref(), reply.reasoning.as_deref()), (Some("4"), Some("2 and 2")));
}
