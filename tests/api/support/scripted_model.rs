//! A model server for tests: it speaks OpenAI's chat completions over real HTTP and does as it is told.
//!
//! Each request takes the next scripted [`Behaviour`]; when none is left, the default answers, which at first is an
//! echo. Every request body is kept for assertions.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode, Uri, header},
    response::IntoResponse,
};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What the server does with one request. Built by the functions of the same names.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    Reply {
        content: Option<String>,
        tool_calls: Vec<Value>,
        pause: Duration,
        pieces: Option<usize>,
    },
    Status {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// 200 with this body, in place of an answer; as an event when a stream was asked for.
    Raw(String),
    /// 200 and a body that may never end.
    Flood(Flood),
    Hang,
    /// Waits for the gate, then does the other.
    Held(Gate, Box<Behaviour>),
}

/// A body that is sent as fast as the client reads: `head`, and then `piece` again and again.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    content_type: &'static str,
    head: Bytes,
    piece: Bytes,
    pause: Duration,
    pieces: usize,
    encoding: Option<&'static str>,
    sent: Arc<AtomicUsize>,
}

impl Flood {
    pub(crate) fn new(content_type: &'static str, head: &str, piece: &str) -> Self {
        Self {
            content_type,
            head: head.to_owned().into(),
            piece: piece.to_owned().into(),
            pause: Duration::ZERO,
            pieces: usize::MAX,
            encoding: None,
            sent: Arc::default(),
        }
    }

    /// A body of these bytes alone, which the header calls compressed.
    pub(crate) fn gzipped(content_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { head: bytes.into(), pieces: 0, encoding: Some("gzip"), ..Self::new(content_type, "", "") }
    }

    /// Waits before each piece.
    pub(crate) fn slowly(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Ends the body after so many pieces.
    pub(crate) fn pieces(self, pieces: usize) -> Self {
        Self { pieces, ..self }
    }

    /// How many bytes the server could send so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    fn response(self) -> Response<Body> {
        let Self { content_type, head, piece, pause, pieces, encoding, sent } = self;
        let rest = stream::repeat(piece).take(pieces).then(move |piece| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            piece
        });
        let body = stream::iter([head]).chain(rest).map(move |bytes| {
            sent.fetch_add(bytes.len(), Ordering::Relaxed);
            Ok::<_, &'static str>(bytes)
        });
        let mut response = with_type(content_type, Body::from_stream(body));
        if let Some(encoding) = encoding {
            response.headers_mut().insert(header::CONTENT_ENCODING, encoding.parse().expect("an encoding is a header"));
        }
        response
    }
}

/// Holds answers back until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everything through from now on.
    pub(crate) fn open(&self) {
        self.0.close();
    }
}

pub(crate) fn reply(content: &str) -> Behaviour {
    Behaviour::Reply { content: Some(content.into()), tool_calls: Vec::new(), pause: Duration::ZERO, pieces: None }
}

/// A tool call; `arguments` is the text that a real model would send, so it may be broken JSON.
pub(crate) fn reply_with_tool_call(name: &str, arguments: &str) -> Behaviour {
    reply_with_tool_calls(&[(name, arguments)])
}

/// Several calls in one answer, with the ids `call_1`, `call_2` and so on.
pub(crate) fn reply_with_tool_calls(calls: &[(&str, &str)]) -> Behaviour {
    let calls = calls.iter().zip(1..).map(|((name, arguments), number)| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": format!("call_{number}"), "type": "function", "function": function})
    });
    Behaviour::Reply { content: None, tool_calls: calls.collect(), pause: Duration::ZERO, pieces: None }
}

/// A status other than 200, with an error text in OpenAI's form.
pub(crate) fn status(status: u16, message: &str) -> Behaviour {
    let body = json!({"error": {"message": message, "type": "scripted"}}).to_string();
    Behaviour::Status { status, headers: Vec::new(), body }
}

/// A status with a `Retry-After`.
pub(crate) fn status_with_retry_after(code: u16, retry_after: &str) -> Behaviour {
    let Behaviour::Status { status, body, .. } = status(code, "try later") else { unreachable!() };
    Behaviour::Status { status, headers: vec![("retry-after".into(), retry_after.into())], body }
}

/// 200 and JSON by its header, but not JSON.
pub(crate) fn garbage() -> Behaviour {
    Behaviour::Raw("<html>not what you asked for".into())
}

/// Answers once the gate is open.
pub(crate) fn held(gate: &Gate, behaviour: Behaviour) -> Behaviour {
    Behaviour::Held(gate.clone(), Box::new(behaviour))
}

/// Takes the request and never answers.
pub(crate) fn hang() -> Behaviour {
    Behaviour::Hang
}

/// Streams this many pieces (words) of the content and then drops the connection; a whole answer is cut likewise.
pub(crate) fn cut_stream_after(pieces: usize, content: &str) -> Behaviour {
    let Behaviour::Reply { content, tool_calls, pause, .. } = reply(content) else { unreachable!() };
    Behaviour::Reply { content, tool_calls, pause, pieces: Some(pieces) }
}

/// Streams the content with a pause before each piece.
pub(crate) fn slow_pieces(pause: Duration, content: &str) -> Behaviour {
    let Behaviour::Reply { content, tool_calls, pieces, .. } = reply(content) else { unreachable!() };
    Behaviour::Reply { content, tool_calls, pause, pieces }
}

/// "Hello! You said: " and the last message.
pub(crate) fn echo(request: &Value) -> Behaviour {
    let last = request["messages"].as_array().and_then(|messages| messages.last());
    let said = last.and_then(|message| message["content"].as_str()).unwrap_or_default();
    reply(&format!("Hello! You said: {said}"))
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

type Handler = Box<dyn FnMut(&Value) -> Behaviour + Send>;

struct Script {
    queue: VecDeque<Behaviour>,
    default: Handler,
    recorded: Vec<Recorded>,
}

/// A running server. It ends with the runtime of the test that started it.
#[derive(Clone)]
pub(crate) struct ScriptedModel {
    base_url: String,
    script: Arc<Mutex<Script>>,
}

impl ScriptedModel {
    /// Listens on a free port of the loopback interface.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let script = Script { queue: VecDeque::new(), default: Box::new(echo), recorded: Vec::new() };
        let model = Self { base_url: format!("http://{address}/v1"), script: Arc::new(Mutex::new(script)) };
        let routes = Router::new().fallback(answer).with_state(model.clone());
        #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, routes).await });
        model
    }

    /// For `models.*.base_url`: `http://127.0.0.1:{port}/v1`.
    pub(crate) fn base_url(&self) -> String {
        self.base_url.clone()
    }

    /// Adds a behaviour for one more request.
    pub(crate) fn then(&self, behaviour: Behaviour) -> &Self {
        self.script().queue.push_back(behaviour);
        self
    }

    /// What answers when nothing is scripted any more.
    pub(crate) fn otherwise(&self, handler: impl FnMut(&Value) -> Behaviour + Send + 'static) -> &Self {
        self.script().default = Box::new(handler);
        self
    }

    /// The bodies of all requests so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.script().recorded.iter().map(|recorded| recorded.body.clone()).collect()
    }

    /// All requests so far with paths and headers.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.script().recorded.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no handler panics while it holds the script")
    }

    fn next_behaviour(&self, recorded: Recorded) -> Behaviour {
        let mut script = self.script();
        let behaviour = script.queue.pop_front();
        let behaviour = behaviour.unwrap_or_else(|| (script.default)(&recorded.body));
        script.recorded.push(recorded);
        behaviour
    }
}

async fn answer(State(model): State<ScriptedModel>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut behaviour = model.next_behaviour(Recorded { path, headers, body: body.clone() });
    while let Behaviour::Held(Gate(gate), then) = behaviour {
        // Closed for waiters is open for answers.
        let _ = gate.acquire().await;
        behaviour = *then;
    }
    match behaviour {
        Behaviour::Reply { content, tool_calls, pause, pieces } if body["stream"] == true => {
            let chunks = chunks(content.as_deref(), &tool_calls, &usage(&body, content.as_deref()));
            stream_chunks(chunks, pause, pieces)
        }
        Behaviour::Reply { pieces: Some(_), .. } => {
            let beginning = stream::iter([Ok("{\"choices\": [".to_owned())]);
            with_type("application/json", Body::from_stream(beginning.chain(cut())))
        }
        Behaviour::Reply { content, tool_calls, pause, .. } => {
            tokio::time::sleep(pause).await;
            Json(completion(&body, content.as_deref(), &tool_calls)).into_response()
        }
        Behaviour::Status { status, headers, body } => {
            let status = StatusCode::from_u16(status).expect("a scripted status is valid");
            let mut response = (status, body).into_response();
            for (name, value) in headers {
                let name = header::HeaderName::try_from(name).expect("a scripted header name is valid");
                response.headers_mut().insert(name, value.parse().expect("a scripted header is valid"));
            }
            response
        }
        Behaviour::Raw(text) if body["stream"] == true => with_type("text/event-stream", format!("data: {text}\n\n")),
        Behaviour::Raw(text) => with_type("application/json", text),
        Behaviour::Flood(flood) => flood.response(),
        Behaviour::Hang | Behaviour::Held(..) => std::future::pending().await,
    }
}

fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    ([(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// Counts words, and claims some of them to be cached and some to be thought.
fn usage(request: &Value, content: Option<&str>) -> Value {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words = |text: &str| text.split_whitespace().count();
    let prompt: usize = messages.iter().filter_map(|message| message["content"].as_str()).map(words).sum();
    let completion = content.map_or(1, words);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    })
}

fn finish_reason(tool_calls: &[Value]) -> &'static str {
    if tool_calls.is_empty() { "stop" } else { "tool_calls" }
}

fn completion(request: &Value, content: Option<&str>, tool_calls: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": content});
    if !tool_calls.is_empty() {
        message["tool_calls"] = tool_calls.into();
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": finish_reason(tool_calls)});
    json!({
        "id": "chatcmpl-scripted", "object": "chat.completion", "model": request["model"],
        "choices": [choice], "usage": usage(request, content),
    })
}

/// The events of a stream, as OpenAI sends them: a word each, arguments in two halves, usage in the last one.
fn chunks(content: Option<&str>, tool_calls: &[Value], usage: &Value) -> Vec<String> {
    let words = content.unwrap_or_default().split_inclusive(' ').map(|word| json!({"content": word}));
    let calls = tool_calls.iter().enumerate().flat_map(|(index, call)| tool_call_deltas(index, call));
    let mut events: Vec<Value> =
        words.chain(calls).map(|delta| chunk(&json!([{"index": 0, "delta": delta}]))).collect();
    events.push(chunk(&json!([{"index": 0, "delta": {}, "finish_reason": finish_reason(tool_calls)}])));
    let mut last = chunk(&json!([]));
    last["usage"] = usage.clone();
    events.push(last);
    let done = std::iter::once("[DONE]".to_owned());
    events.iter().map(Value::to_string).chain(done).map(|data| format!("data: {data}\n\n")).collect()
}

fn chunk(choices: &Value) -> Value {
    json!({"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "model": "scripted", "choices": choices})
}

fn tool_call_deltas(index: usize, call: &Value) -> [Value; 2] {
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
    let (first, second) = arguments.split_at(arguments.len() / 2);
    let function = json!({"name": call["function"]["name"], "arguments": first});
    let opening = json!({"index": index, "id": call["id"], "type": "function", "function": function});
    [json!({"tool_calls": [opening]}), json!({"tool_calls": [{"index": index, "function": {"arguments": second}}]})]
}

fn stream_chunks(chunks: Vec<String>, pause: Duration, pieces: Option<usize>) -> Response<Body> {
    let kept = pieces.unwrap_or(chunks.len());
    let events = stream::iter(chunks.into_iter().take(kept)).then(move |event| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, &'static str>(event)
    });
    let body = match pieces {
        Some(_) => Body::from_stream(events.chain(cut())),
        None => Body::from_stream(events),
    };
    with_type("text/event-stream", body)
}

/// An error in a body: the server drops the connection, and with it what it has not sent yet, hence the moment before.
fn cut() -> impl Stream<Item = Result<String, &'static str>> + Send {
    stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err("cut")
    })
}
