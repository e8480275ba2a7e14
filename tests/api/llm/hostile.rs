//! Providers that send too much, too slowly or for ever: every call ends in time, with an error that says why, and
//! takes in no more than its bounds.

use std::{io::Write, time::Duration};

use colloquy::testing::{
    config::Provider,
    llm::{ErrorKind, ModelError, Models},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::{
    fast,
    scripted_model::{Behaviour, Flood, ScriptedModel, reply_with_tool_call, reply_with_tool_calls},
    timed, unchanged, user,
};

const MIB: usize = 1024 * 1024;
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
/// The beginning of an event, and of an answer, that is all text from there on.
const OPEN_EVENT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":""#;
const OPEN_BODY: &str = r#"{"choices":[{"index":0,"message":{"content":""#;
/// More than the sockets' buffers hold of what nobody reads any more (`tcp_rmem`, `tcp_wmem`: here and there 32 MiB).
const UNREAD: usize = 64 * MIB;
/// More than any call here may take on a busy machine, and much less than the endless ones would.
const LONG: Duration = Duration::from_secs(20);

async fn stream(models: &Models) -> ModelError {
    let call = async { models.stream("fast", &user("hi"), &mut |_| {}).await.expect_err("this is no answer") };
    in_time(call).await
}

async fn complete(models: &Models) -> ModelError {
    let call = async { models.complete("fast", &user("hi")).await.expect_err("this is no answer") };
    in_time(call).await
}

async fn in_time(call: impl Future<Output = ModelError>) -> ModelError {
    let (error, took) = timed(call).await;
    assert!(took < LONG, "{took:?}: {error}");
    error
}

fn flood(server: &ScriptedModel, flood: Flood) -> Flood {
    server.then(Behaviour::Flood(flood.clone()));
    flood
}

fn gzip(head: &str, megabytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(head.as_bytes()).unwrap();
    for _ in 0..megabytes {
        encoder.write_all(&vec![b'a'; MIB]).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_never_ends_is_refused() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    for head in [OPEN_EVENT, ": ", "", "event: "] {
        let flood = flood(&server, Flood::new(EVENTS, head, &"a".repeat(64 * 1024)).pieces(1_000));
        let error = stream(&models).await;
        assert_eq!(error.kind, ErrorKind::TooLarge, "{head}: {error}");
        assert!(flood.sent() < 4 * MIB + UNREAD, "{head}: {}", flood.sent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_never_ends_is_refused() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.provider = Provider::Ollama);
    let flood = flood(&server, Flood::new("application/x-ndjson", "{\"message\":\"", &"a".repeat(64 * 1024)));
    let error = stream(&models).await;
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    assert!(flood.sent() < 4 * MIB + UNREAD, "{}", flood.sent());
}

#[tokio::test]
async fn an_event_that_arrives_too_slowly_times_out() {
    let server = ScriptedModel::start().await;
    for (provider, head) in
        [(Provider::OpenAi, OPEN_EVENT), (Provider::OpenAi, ": "), (Provider::Ollama, "{\"message\":\"")]
    {
        let models = fast(&server, |settings| {
            settings.provider = provider;
            settings.timeout = Duration::from_millis(400);
        });
        flood(&server, Flood::new(EVENTS, head, "a").slowly(Duration::from_millis(50)));
        let error = stream(&models).await;
        assert_eq!(error.kind, ErrorKind::TimedOut, "{head}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_arrives_too_slowly_times_out() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.timeout = Duration::from_millis(400));
    for (pause, what) in [(Duration::from_millis(50), "a byte now and then"), (LONG * 2, "headers and silence")] {
        flood(&server, Flood::new(JSON, OPEN_BODY, "a").slowly(pause));
        assert_eq!(complete(&models).await.kind, ErrorKind::TimedOut, "{what}");
        flood(&server, Flood::new(EVENTS, "", "a").slowly(pause));
        assert_eq!(stream(&models).await.kind, ErrorKind::TimedOut, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_that_never_ends_is_refused() {
    let server = ScriptedModel::start().await;
    let event = |delta: serde_json::Value| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]}));
    let text = "a".repeat(64 * 1024);
    let piece = json!([{"index": 0, "function": {"arguments": text}}]);
    for delta in [json!({"content": text}), json!({"reasoning_content": text}), json!({"tool_calls": piece})] {
        let flood = flood(&server, Flood::new(EVENTS, "", &event(delta)));
        let error = stream(&fast(&server, unchanged)).await;
        assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
        assert!(flood.sent() < 16 * MIB + UNREAD, "{}", flood.sent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_nothing_for_ever_can_be_stopped_at_any_moment() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    for piece in ["data: {\"choices\":[]}\n\n", ": still here\n\n", "\n", "data: {\"choices\":[]}\ndata:\n\n"] {
        flood(&server, Flood::new(EVENTS, "", &piece.repeat(1_000)));
        let call = async { models.stream("fast", &user("hi"), &mut |_| {}).await };
        let (stopped, took) = timed(tokio::time::timeout(Duration::from_millis(300), call)).await;
        assert!(took < Duration::from_secs(3), "{piece:?}: {took:?}, {stopped:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_ends_is_refused() {
    let server = ScriptedModel::start().await;
    for provider in [Provider::OpenAi, Provider::Anthropic, Provider::Gemini, Provider::Ollama] {
        let models = fast(&server, |settings| settings.provider = provider);
        for head in [OPEN_BODY, "[", " "] {
            let flood = flood(&server, Flood::new(JSON, head, &" ".repeat(64 * 1024)));
            let error = complete(&models).await;
            assert_eq!(error.kind, ErrorKind::TooLarge, "{provider:?}, {head}: {error}");
            assert!(flood.sent() < 16 * MIB + UNREAD, "{}", flood.sent());
        }
    }
}

#[tokio::test]
async fn compressed_bytes_count_as_what_they_unpack_to() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    flood(&server, Flood::gzipped(JSON, gzip(OPEN_BODY, 100)));
    assert_eq!(complete(&models).await.kind, ErrorKind::TooLarge);
    flood(&server, Flood::gzipped(EVENTS, gzip(OPEN_EVENT, 100)));
    assert_eq!(stream(&models).await.kind, ErrorKind::TooLarge);
}

#[tokio::test]
async fn arguments_have_a_limit_of_their_own() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    let large = json!({"text": "a".repeat(3 * MIB)}).to_string();
    let half = json!({"text": "a".repeat(600 * 1024)}).to_string();
    let halves = || reply_with_tool_calls(&[("add", &half), ("add", &half)]);
    for behaviour in [reply_with_tool_call("add", &large), halves()] {
        server.then(behaviour.clone()).then(behaviour);
        assert_eq!(complete(&models).await.kind, ErrorKind::TooLarge);
        assert_eq!(stream(&models).await.kind, ErrorKind::TooLarge);
    }
    server.then(reply_with_tool_call("add", &half));
    assert_eq!(models.complete("fast", &user("hi")).await.unwrap().tool_calls.len(), 1);
}

#[tokio::test]
async fn an_answer_has_so_many_tool_calls_and_no_more() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    let calls = |count| reply_with_tool_calls(&vec![("add", "{}"); count]);
    server.then(calls(128)).then(calls(128));
    assert_eq!(models.complete("fast", &user("hi")).await.unwrap().tool_calls.len(), 128);
    assert_eq!(models.stream("fast", &user("hi"), &mut |_| {}).await.unwrap().tool_calls.len(), 128);
    for count in [129, 5_000] {
        server.then(calls(count)).then(calls(count));
        assert_eq!(complete(&models).await.kind, ErrorKind::TooLarge, "{count}");
        assert_eq!(stream(&models).await.kind, ErrorKind::TooLarge, "{count}");
    }
}

#[tokio::test]
async fn the_number_that_a_call_gives_itself_costs_nothing() {
    let server = ScriptedModel::start().await;
    let call = json!({"index": 4_000_000_000_u32, "id": "a", "function": {"name": "add", "arguments": "{}"}});
    let event = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    let body = format!("data: {event}\n\ndata: [DONE]\n\n");
    flood(&server, Flood::new(EVENTS, &body, "").pieces(0));
    let answer = fast(&server, unchanged).stream("fast", &user("hi"), &mut |_| {}).await.unwrap();
    assert_eq!((answer.tool_calls.len(), answer.tool_calls[0].name.as_str()), (1, "add"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_never_ends_is_still_that_error() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    server.otherwise(|_| Behaviour::Status { status: 500, headers: Vec::new(), body: "a".repeat(50 * MIB) });
    assert_eq!(complete(&models).await.kind, ErrorKind::Unavailable);
    assert_eq!(stream(&models).await.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_flood_is_not_asked_for_again() {
    let server = ScriptedModel::start().await;
    server.otherwise(|_| Behaviour::Flood(Flood::new(JSON, OPEN_BODY, &"a".repeat(64 * 1024))));
    let models = fast(&server, |settings| settings.max_retries = 3);
    assert_eq!(complete(&models).await.kind, ErrorKind::TooLarge);
    assert_eq!(server.requests().len(), 1);
}
