//! Clients that are slow, idle, too many, or speak something else.

use std::time::Duration;

use colloquy::testing::http_client;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::timeout,
};

use super::{PATIENCE, Raw, expect_problem};
use crate::support::{TestApp, scripted_model::slow_pieces};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(5);
const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn run_request(body: &serde_json::Value) -> String {
    let body = body.to_string();
    let head = "POST /agents/assistant/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_not_waited_for() {
    let app = TestApp::with(|settings| {
        (settings.server.header_timeout, settings.server.idle_timeout) = (SHORT, LONG);
    })
    .await;
    for first in ["G", "GET /health HTTP/1.1\r\nhost: localhost\r\n", &format!("{HEALTH}GET /hea")] {
        let mut raw = Raw::open(&app).await;
        raw.send(first).await;
        let (mut reader, mut writer) = raw.0.into_split();
        // Each byte comes in time; the head does not.
        let trickle = async {
            let mut beat = tokio::time::interval(SHORT / 10);
            while writer.write_all(b"x").await.is_ok() {
                beat.tick().await;
            }
        };
        let mut answer = Vec::new();
        let closed = async { reader.read_to_end(&mut answer).await };
        let closed = async {
            tokio::select! { closed = closed => drop(closed), () = trickle => {} }
        };
        timeout(PATIENCE, closed).await.unwrap_or_else(|_| panic!("{first:?} is still waited for"));
    }
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let app = TestApp::with(|settings| {
        (settings.server.header_timeout, settings.server.idle_timeout) = (LONG, SHORT);
    })
    .await;
    assert_eq!(Raw::open(&app).await.read_to_end().await, "");
    let mut asked = Raw::open(&app).await;
    assert!(asked.send(HEALTH).await.read_until("}").await.starts_with("HTTP/1.1 200"));
    asked.send(HEALTH).await.read_until("}").await;
    let rest = asked.read_to_end().await;
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
}

#[tokio::test]
async fn http_2_is_served_and_closed_when_idle() {
    let app = TestApp::with(|settings| settings.server.idle_timeout = SHORT).await;
    let client = http_client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(format!("{}/sessions", app.base_url)).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    let foreign = client.get(format!("{}/sessions", app.base_url)).header("origin", "http://evil.test").send().await;
    assert_eq!(foreign.unwrap().status(), 403);
    let mut raw = Raw::open(&app).await;
    // The preface and an empty frame of settings.
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut bytes = Vec::new();
    timeout(PATIENCE, raw.0.read_to_end(&mut bytes)).await.expect("it is closed").unwrap();
    assert!(!bytes.is_empty());
}

#[tokio::test]
async fn whoever_waits_for_an_answer_is_not_idle() {
    let app = TestApp::with(|settings| {
        let server = &mut settings.server;
        (server.header_timeout, server.idle_timeout, server.write_timeout) = (SHORT, SHORT, SHORT);
        server.request_timeout = SHORT;
    })
    .await;
    for stream in [false, true] {
        app.model.then(slow_pieces(SHORT / 3, &"word ".repeat(12)));
        let mut raw = Raw::open(&app).await;
        raw.send(run_request(&json!({"message": "hi", "stream": stream}))).await;
        let answer = raw.read_until(if stream { "event: RunCompleted" } else { "\"COMPLETED\"" }).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_not_waited_for() {
    let app = TestApp::with(|settings| settings.server.request_timeout = SHORT).await;
    let json = "application/json";
    let run = "/agents/assistant/runs/01a206c1-4b42-72a9-b242-a016793c2551";
    for (path, content_type) in [
        ("/agents/assistant/runs", json),
        ("/agents/assistant/runs", "application/x-www-form-urlencoded"),
        ("/agents/assistant/runs", "multipart/form-data; boundary=x"),
        (&format!("{run}/continue"), json),
        (&format!("{run}/resume"), json),
        ("/memories/extract", json),
        ("/optimize-memories", json),
        ("/sessions", json),
        ("/sessions/s/messages", json),
        ("/sessions/import", "application/x-ndjson"),
        ("/memories", json),
        ("/search", json),
    ] {
        for (length, key) in [("content-length: 1000", ""), ("transfer-encoding: chunked", "idempotency-key: k\r\n")] {
            let mut raw = Raw::open(&app).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\n{key}content-type: {content_type}\r\n{length}\r\n\r\n"
            );
            raw.send(head).await;
            let answer = raw.read_to_end().await;
            let detail = expect_problem(&answer, 408);
            assert!(detail.contains("server.request_timeout"), "{path}: {detail}");
        }
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_those_inside_go_on() {
    let app = TestApp::with(|settings| settings.server.max_connections = 2).await;
    app.model.then(slow_pieces(Duration::from_millis(50), &"word ".repeat(20)));
    let mut streaming = Raw::open(&app).await;
    streaming.send(run_request(&json!({"message": "hi", "stream": true}))).await.read_until("RunContent").await;
    let mut idle = Raw::open(&app).await;
    idle.send(HEALTH).await.read_until("}").await;
    for request in [HEALTH, ""] {
        let mut further = Raw::open(&app).await;
        let answer = further.send(request).await.read_to_end().await;
        let detail = expect_problem(&answer, 503);
        assert!(detail.contains("server.max_connections"), "{detail}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
    streaming.read_until("event: RunCompleted").await;
    idle.send(HEALTH).await.read_until("}").await;
    drop(idle);
    served(&app).await;
}

/// Waits until a new connection has a place.
async fn served(app: &TestApp) {
    let trying = async {
        loop {
            let mut raw = Raw::open(app).await;
            let asked = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            if raw.send(asked).await.read_to_end().await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    timeout(PATIENCE, trying).await.expect("a place is free in time");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_loses_its_place() {
    let app = TestApp::with(|settings| {
        (settings.server.max_connections, settings.server.write_timeout) = (1, SHORT);
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(app.base_url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let bundle = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // More than the buffers of both sides hold.
    stalled.write_all(bundle.repeat(10).as_bytes()).await.unwrap();
    stalled.readable().await.unwrap();
    served(&app).await;
    drop(stalled);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_so() {
    let app = TestApp::start().await;
    for length in [65_000, 100_000, 3_000_000] {
        let mut raw = Raw::open(&app).await;
        raw.send(format!(
            "GET /sessions?q={} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            "x".repeat(length)
        ))
        .await;
        let answer = raw.read_to_end().await;
        if length > 65_000 {
            expect_problem(&answer, 414);
        } else {
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    for headers in [
        format!("x: {}\r\n", "x".repeat(70_000)),
        format!("x: {}\r\n", "x".repeat(3_000_000)),
        "x: y\r\n".repeat(101),
        "x: y\r\n".repeat(50_000),
    ] {
        let mut raw = Raw::open(&app).await;
        raw.send(format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        let detail = expect_problem(&raw.read_to_end().await, 431);
        assert!(detail.contains("headers"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let app = TestApp::start().await;
    for bytes in [
        &b"nonsense\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nhost: localhost\r\ncontent-length: many\r\n\r\n",
    ] {
        let mut raw = Raw::open(&app).await;
        raw.send(bytes).await;
        expect_problem(&raw.read_to_end().await, 400);
    }
    // After an answer on the same connection too.
    let mut raw = Raw::open(&app).await;
    raw.send(HEALTH).await.read_until("}").await;
    raw.send("nonsense\r\n\r\n").await;
    expect_problem(&raw.read_to_end().await, 400);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once() {
    let app = TestApp::start().await;
    let (mut asked, mut silent) = (Raw::open(&app).await, Raw::open(&app).await);
    asked.send(HEALTH).await.read_until("}").await;
    app.shut_down().await;
    assert_eq!((asked.read_to_end().await, silent.read_to_end().await), (String::new(), String::new()));
}
