//! Uploads that are refused: a client that sends all of its body before it reads has to get its answer.

use super::{Raw, expect_problem};
use crate::support::TestApp;

const SIZE: usize = 10 * 1024 * 1024;

/// The request's head and its body, in one piece or in chunks.
fn request(method: &str, path: &str, headers: &str, is_chunked: bool) -> Vec<u8> {
    let length = if is_chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {SIZE}") };
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n{headers}{length}\r\n\r\n").into_bytes();
    if is_chunked {
        let chunk = 64 * 1024;
        for _ in 0..SIZE / chunk {
            bytes.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
            bytes.resize(bytes.len() + chunk, b'x');
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.resize(bytes.len() + SIZE, b'x');
    }
    bytes
}

#[tokio::test]
async fn the_answer_to_a_large_body_that_is_refused_can_be_read() {
    let app = TestApp::start().await;
    let json = "host: localhost\r\ncontent-type: application/json\r\n";
    for (method, path, headers, status) in [
        ("POST", "/agents/assistant/runs", json, 413),
        ("POST", "/sessions", json, 413),
        ("POST", "/nowhere", json, 404),
        ("PUT", "/sessions", json, 405),
        ("POST", "/sessions", "host: localhost\r\ncontent-type: text/plain\r\n", 415),
        ("POST", "/agents/assistant/runs?x=1", json, 422),
        ("POST", "/sessions", "host: evil.test\r\ncontent-type: application/json\r\n", 421),
        ("POST", "/sessions", "host: localhost\r\norigin: http://evil.test\r\n", 403),
        ("POST", "/sessions", "", 400),
    ] {
        for is_chunked in [false, true] {
            let mut raw = Raw::open(&app).await;
            raw.send(request(method, path, headers, is_chunked)).await;
            let answer = raw.read_to_end().await;
            // A body that is too large by its own account is refused for that, wherever it goes.
            let early = !is_chunked && [404, 405, 415, 422].contains(&status);
            expect_problem(&answer, if early { 413 } else { status });
        }
    }
}

#[tokio::test]
async fn whoever_asks_first_whether_to_send_is_told_at_once() {
    let app = TestApp::start().await;
    let mut raw = Raw::open(&app).await;
    let head = "POST /sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue";
    raw.send(format!("{head}\r\ncontent-length: {SIZE}\r\n\r\n")).await;
    expect_problem(&raw.read_to_end().await, 413);
}
