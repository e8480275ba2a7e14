//! `POST /sessions/{id}/messages`: what was said elsewhere.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn what_was_said_elsewhere_becomes_history_with_its_times() {
    let app = TestApp::start().await;
    let messages = json!([
        {"role": "user", "content": "I moved to Oslo.", "created_at": "2023-05-08T13:56:00Z"},
        {"role": "assistant", "content": "How do you like it?"},
        {"role": "user", "content": "A lot.", "created_at": "2023-05-09T13:56:00Z"},
    ]);
    let body = json!({"user_id": "alice", "agent_id": "assistant", "messages": messages});
    let appended = app.post("/sessions/s/messages", body).await.expect(201);
    assert_eq!(appended["run_ids"].as_array().unwrap().len(), 2);
    let session = app.get("/sessions/s?user_id=alice").await.expect(200);
    assert_eq!(session["created_at"], "2023-05-08T13:56:00Z");
    assert_eq!(session["chat_history"].as_array().unwrap().len(), 3);
    let run = app.run(json!({"message": "Where do I live?", "session_id": "s", "user_id": "alice"})).await.expect(200);
    assert_eq!(run["seq"], 3);
    assert!(app.model.requests()[0].to_string().contains("I moved to Oslo."));
    // More is appended after what is there.
    app.post("/sessions/s/messages", json!({"user_id": "alice", "messages": [{"role": "user", "content": "Hm."}]}))
        .await
        .expect(201);
    assert_eq!(app.get("/sessions/s/runs").await.expect(200).as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn messages_that_cannot_be_appended_are_refused() {
    let app = TestApp::start().await;
    app.post("/sessions", json!({"session_id": "s", "user_id": "alice"})).await.expect(201);
    let said = json!([{"role": "user", "content": "hi"}]);
    app.post("/sessions/s/messages", json!({"user_id": "eve", "messages": said})).await.expect_problem(404);
    for messages in [
        json!([]),
        json!([{"role": "system", "content": "hi"}]),
        json!([{"role": "user", "content": ""}]),
        json!([{"role": "user", "content": "hi", "name": "x"}]),
        json!([{"role": "user", "content": "hi", "created_at": "yesterday"}]),
    ] {
        app.post("/sessions/s/messages", json!({"user_id": "alice", "messages": messages})).await.expect_problem(422);
    }
}
