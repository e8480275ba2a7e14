//! A run that is asked for twice is executed once.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestApp,
    scripted_model::{slow_pieces, status},
};

async fn run_once(app: &TestApp, key: &str, body: &Value) -> Answer {
    let request = app.request(Method::POST, "/agents/assistant/runs").header("idempotency-key", key);
    app.send(request.json(body)).await
}

async fn runs(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from runs").fetch_one(app.db()).await.unwrap()
}

#[tokio::test]
async fn the_same_request_is_answered_again_and_attaches_to_the_run_in_flight() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(50), "a b c"));
    let body = json!({"message": "hi"});
    let (one, two) = tokio::join!(run_once(&app, "k", &body), run_once(&app, "k", &body));
    let three = run_once(&app, "k", &body).await;
    for answer in [&one, &two, &three] {
        assert_eq!(answer.expect(200)["content"], "a b c");
        assert_eq!(answer.json()["run_id"], one.json()["run_id"]);
    }
    let replayed =
        [&one, &two, &three].iter().filter(|answer| answer.headers.contains_key("idempotent-replayed")).count();
    assert_eq!((replayed, runs(&app).await), (2, 1));
    assert_eq!(app.model.requests().len(), 1);
}

#[tokio::test]
async fn a_stream_and_a_background_run_are_found_again_too() {
    let app = TestApp::start().await;
    let stream = json!({"message": "hi", "session_id": "s", "stream": true});
    let first = run_once(&app, "stream", &stream).await.events();
    let again = run_once(&app, "stream", &stream).await.events();
    let data = |events: &[crate::support::ServerEvent]| -> Vec<Value> {
        events[..events.len() - 1].iter().map(|event| event.data.clone()).collect()
    };
    assert_eq!(data(&first), data(&again));
    assert_eq!(again.last().unwrap().data["content"], "Hello! You said: hi");
    let background = json!({"message": "hi", "session_id": "s", "background": true});
    let first = run_once(&app, "background", &background).await.expect(202);
    assert_eq!(run_once(&app, "background", &background).await.expect(202), first);
    assert_eq!(runs(&app).await, 2);
}

#[tokio::test]
async fn a_run_that_failed_is_told_of_again_and_not_as_if_the_same_request_could_succeed() {
    let app = TestApp::start().await;
    app.model.then(status(400, "no"));
    let body = json!({"message": "hi", "session_id": "s"});
    run_once(&app, "k", &body).await.expect_problem(502);
    app.execute(r#"update outcomes set error = error || '{"type": "interrupted"}'"#).await;
    let again = run_once(&app, "k", &body).await;
    let detail = again.expect_problem(503)["detail"].to_string();
    assert!(detail.contains("use a new one"), "{detail}");
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert!(!again.headers.contains_key("retry-after"));
    assert_eq!(runs(&app).await, 1);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let app = TestApp::start().await;
    run_once(&app, "k", &json!({"message": "hi"})).await.expect(200);
    run_once(&app, "k", &json!({"message": "ho"})).await.expect_problem(422);
    run_once(&app, "", &json!({"message": "ho"})).await.expect_problem(422);
    run_once(&app, &"k".repeat(300), &json!({"message": "ho"})).await.expect_problem(422);
    // A request that was refused has not used its key.
    run_once(&app, "free", &json!({"message": ""})).await.expect_problem(422);
    run_once(&app, "free", &json!({"message": "hi"})).await.expect(200);
    assert_eq!(runs(&app).await, 2);
}

#[tokio::test]
async fn a_run_that_was_deleted_is_not_run_again() {
    let app = TestApp::start().await;
    let body = json!({"message": "hi", "session_id": "s"});
    run_once(&app, "k", &body).await.expect(200);
    app.delete("/sessions/s").await.expect(204);
    run_once(&app, "k", &body).await.expect_problem(409);
    assert_eq!(runs(&app).await, 0);
}
