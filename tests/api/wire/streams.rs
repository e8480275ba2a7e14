//! Server-Sent Events of a run.

use serde_json::{Value, json};

use super::{assert_fits, assistant_with_tools, fixture, script_a_tool_call};
use crate::support::{Answer, ServerEvent, TestApp, scripted_model};

async fn stream(app: &TestApp) -> Answer {
    let body = json!({
        "message": "When does the train leave?", "session_id": "trip", "user_id": "carol", "stream": true,
        "session_state": {"stops": 2}, "metadata": {"channel": "web"},
    });
    app.run(body).await
}

/// The names of the events in order, neighbours of the same name as one.
fn order(events: &[ServerEvent]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    names.dedup();
    names
}

/// The first event of this name fits its sample.
#[track_caller]
fn assert_event(events: &[ServerEvent], name: &str) {
    let event = events.iter().find(|event| event.name == name).unwrap_or_else(|| panic!("{name} in {events:?}"));
    assert_eq!(event.data["event"], name);
    assert_fits(&event.data, &fixture("events.json")[name]);
}

#[tokio::test]
async fn an_answer_comes_in_pieces_between_start_and_end() {
    let app = assistant_with_tools().await;
    let events = stream(&app).await.events();
    assert_eq!(
        order(&events),
        [
            "RunStarted",
            "ModelRequestStarted",
            "RunContent",
            "ModelRequestCompleted",
            "RunContentCompleted",
            "RunCompleted"
        ]
    );
    let pieces: Vec<_> = events.iter().filter(|event| event.name == "RunContent").collect();
    assert!(pieces.len() > 2, "{pieces:?}");
    let said: String = pieces.iter().map(|event| event.data["content"].as_str().unwrap()).collect();
    assert_eq!(said, "Hello! You said: When does the train leave?");
    assert_eq!(events.last().unwrap().data["content"], said);
}

#[tokio::test]
async fn each_event_of_an_answer_has_its_shape() {
    let app = assistant_with_tools().await;
    let events = stream(&app).await.events();
    for name in ["RunStarted", "ModelRequestStarted", "ModelRequestCompleted", "RunContentCompleted", "RunCompleted"] {
        assert_event(&events, name);
    }
}

#[tokio::test]
async fn each_piece_of_an_answer_has_its_shape() {
    let app = assistant_with_tools().await;
    assert_event(&stream(&app).await.events(), "RunContent");
}

#[tokio::test]
async fn a_tool_is_called_between_two_requests_to_the_model() {
    let app = assistant_with_tools().await;
    script_a_tool_call(&app);
    let events = stream(&app).await.events();
    let without_content: Vec<_> = events.iter().filter(|event| event.name != "RunContent").cloned().collect();
    assert_eq!(
        order(&without_content),
        [
            "RunStarted",
            "ModelRequestStarted",
            "ModelRequestCompleted",
            "ToolCallStarted",
            "ToolCallCompleted",
            "ModelRequestStarted",
            "ModelRequestCompleted",
            "RunContentCompleted",
            "RunCompleted"
        ]
    );
    assert_event(&events, "ToolCallStarted");
    assert_event(&events, "ToolCallCompleted");
    let completed = events.iter().find(|event| event.name == "ToolCallCompleted").unwrap();
    let content = completed.data["content"].as_str().unwrap();
    assert!(content.starts_with("get_chat_history(num_chats=2) completed in "), "{content}");
}

#[tokio::test]
async fn a_tool_that_fails_is_told_and_the_run_goes_on() {
    let app = assistant_with_tools().await;
    app.model.then(scripted_model::reply_with_tool_call("no_such_tool", "{}")).then(scripted_model::reply("Sorry."));
    let events = stream(&app).await.events();
    assert_event(&events, "ToolCallError");
    assert_eq!(events.last().unwrap().name, "RunCompleted");
}

#[tokio::test]
async fn a_failure_ends_the_stream_with_run_error() {
    let app = assistant_with_tools().await;
    app.model.then(scripted_model::status(400, "no"));
    let events = stream(&app).await.events();
    assert_eq!(order(&events), ["RunStarted", "ModelRequestStarted", "RunError"]);
    assert_event(&events, "RunError");
    let runs = app.get("/sessions/trip/runs").await.expect(200);
    assert_eq!((&runs[0]["status"], &runs[0]["content"]), (&json!("ERROR"), &events[2].data["content"]));
}

#[tokio::test]
async fn every_line_begins_as_the_existing_clients_read_it() {
    let app = assistant_with_tools().await;
    script_a_tool_call(&app);
    let answer = stream(&app).await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    assert!(answer.text.ends_with("\n\n") && !answer.text.contains('\r'));
    for block in answer.text.trim_end().split("\n\n") {
        let mut starts: Vec<_> = block.lines().map(|line| line.split_inclusive(": ").next().unwrap()).collect();
        starts.sort_unstable();
        assert_eq!(starts, ["data: ", "event: ", "id: "], "{block}");
    }
    let ids: Vec<_> = answer.events().into_iter().map(|event| event.id).collect();
    assert_eq!(ids, (0..ids.len()).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_event_says_where_it_comes_from() {
    let app = assistant_with_tools().await;
    script_a_tool_call(&app);
    let events = stream(&app).await.events();
    let origin = |data: &Value| ["agent_id", "agent_name", "run_id", "session_id"].map(|key| data[key].clone());
    for event in &events {
        assert_eq!(origin(&event.data), origin(&events[0].data));
        assert_eq!((&event.data["agent_id"], &event.data["session_id"]), (&json!("assistant"), &json!("trip")));
        assert!(event.data["created_at"].is_i64(), "{event:?}");
    }
    let stored = app.get("/sessions/trip/runs").await.expect(200);
    assert_eq!(stored[0]["run_id"], events[0].data["run_id"]);
}

#[tokio::test]
async fn forms_are_streamed_unless_they_say_otherwise_and_json_only_when_asked() {
    let app = TestApp::start().await;
    let path = "/agents/assistant/runs";
    assert_eq!(app.post_form(path, &[("message", "Hi")]).await.events().last().unwrap().name, "RunCompleted");
    assert_eq!(app.post_form(path, &[("message", "Hi"), ("stream", "false")]).await.expect(200)["status"], "COMPLETED");
    assert_eq!(app.run(json!({"message": "Hi"})).await.expect(200)["status"], "COMPLETED");
}

#[tokio::test]
async fn a_stream_is_not_compressed_so_that_each_event_arrives_at_once() {
    let app = TestApp::start().await;
    let request = app.request(reqwest::Method::POST, "/agents/assistant/runs").header("accept-encoding", "gzip");
    let answer = app.send(request.json(&json!({"message": "Hi", "stream": true}))).await;
    assert!(!answer.headers.contains_key("content-encoding"));
    assert_eq!(answer.events()[0].name, "RunStarted");
}
