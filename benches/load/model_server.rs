//! A model that answers at once: the other end of the load bench.
//!
//! It speaks enough of OpenAI's chat completions API for the server and the floor to be measured against the same
//! answer, and counts what it is sent. A slow model would hide what the bench wants to see, so it takes no time unless
//! `--delay-ms` says so.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
    serve::ListenerExt,
};
use clap::Parser;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "A scripted model server with OpenAI's chat completions API.")]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9099")]
    bind: SocketAddr,
    /// How long to think before answering.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Length of the answer in pieces; a stream sends them one by one.
    #[arg(long, default_value_t = 12)]
    tokens: usize,
}

/// The answer that every call gets, and what the calls so far brought.
struct Script {
    delay: Duration,
    pieces: Vec<String>,
    calls: AtomicU64,
    prompt_chars: AtomicU64,
}

#[derive(Deserialize)]
struct ChatRequest {
    model: String,
    messages: Vec<ChatMessage>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize)]
struct ChatMessage {
    #[serde(default)]
    content: Value,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let script = Script {
        delay: Duration::from_millis(options.delay_ms),
        pieces: (1..=options.tokens).map(|n| format!("word{n} ")).collect(),
        calls: AtomicU64::new(0),
        prompt_chars: AtomicU64::new(0),
    };
    let router = Router::new()
        .route("/v1/chat/completions", post(complete_chat))
        .route("/stats", get(get_stats))
        .route("/reset", post(reset_stats))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(script));
    // Without this, each piece of a stream would wait for the acknowledgement of the one before.
    let listener = tokio::net::TcpListener::bind(options.bind).await?.tap_io(|connection| {
        connection.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn complete_chat(State(script): State<Arc<Script>>, Json(request): Json<ChatRequest>) -> Response {
    let prompt_chars = request.messages.iter().map(|message| count_chars(&message.content)).sum();
    let call = script.calls.fetch_add(1, Ordering::Relaxed) + 1;
    script.prompt_chars.fetch_add(prompt_chars, Ordering::Relaxed);
    if !script.delay.is_zero() {
        tokio::time::sleep(script.delay).await;
    }
    let id = format!("chatcmpl-{call}");
    let usage = usage(prompt_chars, script.pieces.len() as u64);
    if request.stream {
        return stream_pieces(&id, &request.model, &script.pieces, &usage).into_response();
    }
    Json(json!({
        "id": id,
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": script.pieces.concat() },
            "finish_reason": "stop",
        }],
        "usage": usage,
    }))
    .into_response()
}

async fn get_stats(State(script): State<Arc<Script>>) -> Json<Value> {
    Json(json!({
        "calls": script.calls.load(Ordering::Relaxed),
        "prompt_chars": script.prompt_chars.load(Ordering::Relaxed),
    }))
}

async fn reset_stats(State(script): State<Arc<Script>>) {
    script.calls.store(0, Ordering::Relaxed);
    script.prompt_chars.store(0, Ordering::Relaxed);
}

fn stream_pieces(id: &str, model: &str, pieces: &[String], usage: &Value) -> impl IntoResponse + use<> {
    let chunk = |choices: Value, usage: &Value| {
        json!({
            "id": id, "object": "chat.completion.chunk", "created": 0, "model": model,
            "choices": choices, "usage": usage,
        })
        .to_string()
    };
    let delta = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);

    let mut lines = vec![chunk(delta(json!({ "role": "assistant", "content": "" }), Value::Null), &Value::Null)];
    lines.extend(pieces.iter().map(|piece| chunk(delta(json!({ "content": piece }), Value::Null), &Value::Null)));
    lines.push(chunk(delta(json!({}), json!("stop")), &Value::Null));
    lines.push(chunk(json!([]), usage));
    lines.push("[DONE]".into());
    Sse::new(stream::iter(lines.into_iter().map(|line| Ok::<_, Infallible>(Event::default().data(line)))))
}

/// Characters of a message's text, which is a string or a list of parts.
fn count_chars(content: &Value) -> u64 {
    match content {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(parts) => parts.iter().map(|part| count_chars(&part["text"])).sum(),
        _ => 0,
    }
}

/// Four characters to a token, as a rule of thumb.
fn usage(prompt_chars: u64, completion_tokens: u64) -> Value {
    let prompt_tokens = prompt_chars / 4;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}
