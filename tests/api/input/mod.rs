//! What clients should not send: each is refused with a problem document that says what to do, and never with a 5xx.

mod bodies;
mod forms;
mod ids;
mod paths;
mod queries;
mod texts;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::TestApp;

const RUNS: &str = "/agents/assistant/runs";
const SMALL_LIMIT: usize = 64 * 1024;

/// Sends a request that is refused; `mentions` is what its sentence has to name.
async fn refused(app: &TestApp, request: RequestBuilder, status: u16, mentions: &str) -> Value {
    let sent = format!("{request:?}");
    let answer = app.send(request).await;
    assert_eq!(answer.status.as_u16(), status, "{}\nto {sent:.300}", answer.text);
    let problem = answer.expect_problem(status);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.to_lowercase().contains(&mentions.to_lowercase()), "{mentions:?} is not in {detail:?}");
    assert!(detail.len() < 1_000, "a sentence, not {} bytes: {detail:.200}", detail.len());
    problem
}

async fn refused_body(app: &TestApp, path: &str, body: Value, status: u16, mentions: &str) {
    refused(app, app.request(Method::POST, path).json(&body), status, mentions).await;
}

async fn refused_get(app: &TestApp, path: &str, status: u16, mentions: &str) {
    refused(app, app.request(Method::GET, path), status, mentions).await;
}

/// A body of any media type.
fn raw(app: &TestApp, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
    app.request(Method::POST, path).header("content-type", content_type).body(body.into())
}

/// The session `s-1` with one run.
async fn app_with_a_session() -> TestApp {
    let app = TestApp::start().await;
    app.say("s-1", "Hello").await;
    app
}

/// Nothing that was refused has left a trace, and the server goes on.
async fn assert_untouched(app: &TestApp) {
    let sessions = app.get("/sessions").await.expect(200);
    assert_eq!(sessions["meta"]["total_count"], 1, "{sessions}");
    let session = app.get("/sessions/s-1").await.expect(200);
    assert_eq!((&session["run_count"], &session["session_name"]), (&json!(1), &json!("Hello")));
    app.say("s-1", "Are you there?").await;
}

/// Every byte of a text as `%XX`.
fn percent(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").expect("a string takes all");
        encoded
    })
}
