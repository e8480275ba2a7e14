//! Runs as Server-Sent Events.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::support::{
    TestApp,
    scripted_model::{slow_pieces, status},
};

fn names(events: &[crate::support::ServerEvent]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn events_come_in_order_with_their_indexes() {
    let app = TestApp::start().await;
    let answer = app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let events = answer.events();
    assert_eq!(
        names(&events),
        [
            "RunStarted",
            "ModelRequestStarted",
            "RunContent",
            "ModelRequestCompleted",
            "RunContentCompleted",
            "RunCompleted"
        ]
    );
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.id, index.to_string());
        assert_eq!(event.data["event"], event.name);
        assert_eq!((&event.data["session_id"], &event.data["agent_id"]), (&json!("s"), &json!("assistant")));
    }
    let pieces: String =
        events.iter().filter(|e| e.name == "RunContent").map(|e| e.data["content"].as_str().unwrap()).collect();
    assert_eq!(pieces, "Hello! You said: hi");
    assert_eq!(events.last().unwrap().data["content"], "Hello! You said: hi");
}

#[tokio::test]
async fn forms_are_streamed_unless_they_say_otherwise() {
    let app = TestApp::start().await;
    let streamed = app.post_form("/agents/assistant/runs", &[("message", "hi"), ("session_id", "")]).await;
    assert_eq!(streamed.events().last().unwrap().name, "RunCompleted");
    let whole = app.post_form("/agents/assistant/runs", &[("message", "hi"), ("stream", "false")]).await;
    assert_eq!(whole.expect(200)["status"], "COMPLETED");
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nhi there\r\n--x--\r\n";
    let request = app.request(reqwest::Method::POST, "/agents/assistant/runs");
    let answer =
        app.send(request.header("content-type", "multipart/form-data; boundary=x").body(multipart)).await.events();
    assert_eq!(answer.last().unwrap().data["content"], "Hello! You said: hi there");
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_the_run() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(50), "one two three four"));
    let request = app.request(reqwest::Method::POST, "/agents/assistant/runs");
    let body = json!({"message": "hi", "session_id": "s", "stream": true});
    let mut stream = request.json(&body).send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    app.shut_down().await;
    let (status, content): (String, String) =
        sqlx::query_as("select status::text, content from run_records").fetch_one(app.db()).await.unwrap();
    assert_eq!((status.as_str(), content.as_str()), ("COMPLETED", "one two three four"));
}

#[tokio::test]
async fn a_failure_is_the_streams_last_word() {
    let app = TestApp::start().await;
    app.model.then(status(503, "overloaded"));
    let events = app.run(json!({"message": "hi", "stream": true})).await.events();
    assert_eq!(names(&events), ["RunStarted", "ModelRequestStarted", "RunError"]);
    let error = &events.last().unwrap().data;
    assert_eq!(error["error_type"], "model_provider_error");
    assert!(error["content"].as_str().unwrap().starts_with("The model fast cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_leaves_no_run_unexecuted() {
    let app = TestApp::start().await;
    app.say("s", "hi").await;
    for number in 0..100 {
        let request = app.request(reqwest::Method::POST, "/agents/assistant/runs");
        let run = request.json(&json!({"message": "hi", "session_id": "s"})).send();
        let _ = tokio::time::timeout(Duration::from_micros(number * 100), run).await;
    }
    app.shut_down().await;
    let (all, completed): (i64, i64) =
        sqlx::query_as("select count(*), count(*) filter (where status = 'COMPLETED') from run_records")
            .fetch_one(app.db())
            .await
            .unwrap();
    assert!(all > 1);
    assert_eq!(completed, all);
}
