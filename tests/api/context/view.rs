//! `GET /sessions/{id}/context`: the next prompt, without a call.

use serde_json::{Value, json};

use super::last_prompt;
use crate::support::TestApp;

#[tokio::test]
async fn it_shows_what_the_next_run_then_sends() {
    let app = TestApp::with_agent(|agent| {
        agent.enable_session_summaries = true;
        agent.read_chat_history = true;
        agent.add_session_state_to_context = true;
        agent.session_state = json!({"mood": "curious"}).as_object().unwrap().clone();
    })
    .await;
    app.say("s", "one").await;
    app.model.then(crate::support::scripted_model::reply(r#"{"summary": "They said one.", "topics": []}"#));
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    app.say("s", "two").await;

    let calls = app.model.requests().len();
    let view = app.get("/sessions/s/context?message=three").await.expect(200);
    assert_eq!(app.model.requests().len(), calls, "no model is called");
    let run = app.say("s", "three").await;
    let shown = view["messages"].as_array().unwrap().iter();
    let shown: Vec<Value> = shown.map(|message| json!([message["role"], message["content"]])).collect();
    let prompt = last_prompt(&app);
    let sent: Vec<Value> = prompt.iter().map(|message| json!([message["role"], message["content"]])).collect();
    assert_eq!(shown, sent);
    assert_eq!(view["context"], run["context"]);

    let parts: Vec<&str> =
        view["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(parts, ["tools", "instructions", "summary", "history", "session_state", "message"]);
    let total: i64 = view["parts"].as_array().unwrap().iter().map(|part| part["tokens"].as_i64().unwrap()).sum();
    assert_eq!(view["total_tokens"], total);
    assert_eq!(view["parts"][2]["why"], "covers the runs up to 1");
}

#[tokio::test]
async fn without_summaries_it_is_the_last_runs() {
    let app = TestApp::start().await;
    for number in 1..=5 {
        app.say("s", &format!("message {number}")).await;
    }
    let view = app.get("/sessions/s/context").await.expect(200);
    assert_eq!((&view["context"]["window"], &view["context"]["first_history_seq"]), (&json!("last_runs"), &json!(3)));
    assert_eq!(view["parts"][1]["why"], "the last 3 runs");
    app.get("/sessions/s/context?agent_id=nobody").await.expect_problem(404);
}

#[tokio::test]
async fn a_run_that_is_replaced_is_in_neither_summary_nor_history() {
    let app = TestApp::with_agent(|agent| agent.enable_session_summaries = true).await;
    app.say("s", "Keep this.").await;
    app.model.then(crate::support::scripted_model::reply(r#"{"summary": "Kept.", "topics": []}"#));
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    let old = app.say("s", "A mistake.").await;
    app.model.then(crate::support::scripted_model::reply(r#"{"summary": "Kept. A mistake.", "topics": []}"#));
    app.post("/sessions/s/summarize", json!({})).await.expect(200);

    let path = format!("/agents/assistant/runs/{}/continue", old["run_id"].as_str().unwrap());
    let new = app.post(&path, json!({"regenerate": true, "input": "The right thing."})).await.expect(200);
    assert_eq!(new["context"]["summary_through"], 1);
    assert!(!app.model.requests().last().unwrap().to_string().contains("A mistake"));
    let session = app.get("/sessions/s").await.expect(200);
    assert_eq!(session["summary"], "Kept.", "what was derived from it is gone too");
    let view = app.get("/sessions/s/context").await.expect(200);
    assert_eq!((&view["context"]["first_history_seq"], &view["context"]["history_runs"]), (&json!(3), &json!(1)));
}
