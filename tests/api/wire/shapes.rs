//! Answers as a whole.

use serde_json::{Value, json};

use super::{assert_fits, assert_shape, assistant_with_tools, fixture, script_a_tool_call};
use crate::support::{Answer, TestApp};

async fn run(app: &TestApp) -> Value {
    let body = json!({
        "message": "When does the train leave?", "session_id": "trip", "user_id": "carol",
        "session_state": {"stops": 2}, "metadata": {"channel": "web"},
    });
    app.run(body).await.expect(200)
}

async fn create_session(app: &TestApp) {
    let body = json!({"session_id": "trip", "user_id": "carol", "metadata": {"channel": "web"}});
    app.post("/sessions", body).await.expect(201);
}

/// `2026-01-01T00:00:00Z`: UTC, to the second.
#[track_caller]
fn assert_time(time: &Value) {
    let text = time.as_str().expect("a text");
    assert_eq!((text.len(), &text[10..11], &text[19..]), (20, "T", "Z"), "{text}");
    chrono::DateTime::parse_from_rfc3339(text).expect("a time");
}

#[tokio::test]
async fn a_run() {
    let app = assistant_with_tools().await;
    let answered = run(&app).await;
    assert_shape(&answered, "run.json");
    let run_id = answered["run_id"].as_str().unwrap();
    let mut read = app.get(&format!("/agents/assistant/runs/{run_id}?session_id=trip")).await.expect(200);
    let mut sample = fixture("run.json");
    // What is stored has neither the system message nor what came from earlier runs.
    sample["messages"].as_array_mut().unwrap().remove(0);
    assert_fits(&read, &sample);
    assert_eq!(read["events"], json!([]));
    for field in ["messages", "context"] {
        read[field] = answered[field].clone();
    }
    assert_eq!(read, answered);
}

#[tokio::test]
async fn a_run_with_a_tool_call() {
    let app = assistant_with_tools().await;
    script_a_tool_call(&app);
    let answered = run(&app).await;
    assert_shape(&answered, "run_with_tool.json");
    assert_shape(&answered["tools"][0], "tool_execution.json");
    assert_eq!(answered["tools"][0]["tool_args"], json!({"num_chats": 2}));
}

#[tokio::test]
async fn messages_of_every_role() {
    let app = assistant_with_tools().await;
    script_a_tool_call(&app);
    run(&app).await;
    let messages = app.get("/sessions/trip/runs").await.expect(200)[0]["messages"].clone();
    assert_shape(&messages, "messages.json");
    let call = &messages[1];
    assert!(call.get("content").is_none(), "an assistant that calls a tool says nothing: {call}");
    let arguments = call["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"num_chats": 2}));
    assert_eq!(messages[2]["tool_call_id"], call["tool_calls"][0]["id"]);
}

#[tokio::test]
async fn the_history_in_an_answer_is_marked_and_not_stored_again() {
    let app = TestApp::start().await;
    run(&app).await;
    let answered = run(&app).await;
    let marks = |run: &Value| -> Vec<(String, bool)> {
        let messages = run["messages"].as_array().expect("messages").iter();
        messages.map(|m| (m["role"].as_str().expect("a role").into(), m["from_history"] == true)).collect()
    };
    let own = [("user".to_owned(), false), ("assistant".to_owned(), false)];
    let past = [("user".to_owned(), true), ("assistant".to_owned(), true)];
    assert_eq!(marks(&answered), [vec![("system".to_owned(), false)], past.to_vec(), own.to_vec()].concat());
    assert_eq!(marks(&app.get("/sessions/trip/runs").await.expect(200)[1]), own);
}

#[tokio::test]
async fn the_runs_of_a_session() {
    let app = assistant_with_tools().await;
    script_a_tool_call(&app);
    run(&app).await;
    let runs = app.get("/sessions/trip/runs").await.expect(200);
    let mut sample = fixture("session_runs.json");
    sample[0]["messages"].as_array_mut().unwrap().remove(0);
    assert_fits(&runs, &sample);
    assert_time(&runs[0]["created_at"]);
    assert_eq!(app.get("/agents/assistant/runs?session_id=trip").await.expect(200), runs);
}

#[tokio::test]
async fn the_list_of_sessions() {
    let app = assistant_with_tools().await;
    create_session(&app).await;
    run(&app).await;
    let list = app.get("/sessions").await.expect(200);
    assert_shape(&list, "sessions.json");
    assert_time(&list["data"][0]["created_at"]);
    assert_time(&list["data"][0]["updated_at"]);
}

#[tokio::test]
async fn a_session() {
    let app = assistant_with_tools().await;
    create_session(&app).await;
    run(&app).await;
    let session = app.get("/sessions/trip").await.expect(200);
    assert_shape(&session, "session.json");
    assert_time(&session["created_at"]);
    assert_time(&session["updated_at"]);
}

#[tokio::test]
async fn a_renamed_session_has_nulls_for_what_it_has_not() {
    let app = TestApp::start().await;
    let body = json!({"session_id": "trip", "user_id": "carol", "agent_id": "assistant"});
    app.post("/sessions", body).await.expect(201);
    let renamed = app.post("/sessions/trip/rename", json!({"session_name": "Journey"})).await.expect(200);
    assert_shape(&renamed, "session_renamed.json");
    let sample = fixture("session_renamed.json");
    for (key, _) in sample.as_object().unwrap().iter().filter(|(_, value)| value.is_null()) {
        assert_eq!(renamed[key], Value::Null, "{key}");
    }
}

#[tokio::test]
async fn the_agents() {
    let app = assistant_with_tools().await;
    let agents = app.get("/agents").await.expect(200);
    assert_shape(&agents, "agents.json");
    assert_eq!(app.get("/agents/assistant").await.expect(200), agents[0]);
}

#[tokio::test]
async fn the_configuration() {
    let app = assistant_with_tools().await;
    let config = app.get("/config").await.expect(200);
    assert_shape(&config, "config.json");
    assert_eq!(config.get("company"), Some(&Value::Null));
    assert_eq!(app.get("/models").await.expect(200), config["available_models"]);
    let database = config["databases"][0].as_str().unwrap();
    app.get(&format!("/sessions?db_id={database}")).await.expect(200);
    assert_eq!(app.get("/agents").await.expect(200)[0]["db_id"], database);
}

#[tokio::test]
async fn the_service_itself() {
    let app = assistant_with_tools().await;
    assert_shape(&app.get("/info").await.expect(200), "info.json");
    let root = app.get("/").await.expect(200);
    for (link, path) in [("health", "/health"), ("info", "/info"), ("docs", "/docs")] {
        assert_eq!(root[link], path);
    }
    let health = app.get("/health").await.expect(200);
    assert_eq!(health["status"], "ok");
    chrono::DateTime::parse_from_rfc3339(health["instantiated_at"].as_str().unwrap()).unwrap();
    assert_eq!(app.get("/ready").await.expect(200)["status"], "ready");
}

/// Old clients read `detail`, `error_id` and `error_type`.
#[tokio::test]
async fn a_failed_run_names_the_kind_of_failure() {
    let app = TestApp::start().await;
    app.model.otherwise(|_| crate::support::scripted_model::status(400, "no"));
    let form = [("message", "Hi"), ("session_id", "trip"), ("stream", "false")];
    let answered = app.post_form("/agents/assistant/runs", &form).await.expect(200);
    assert_eq!(answered["status"], "ERROR");
    assert!(answered["content"].as_str().is_some_and(|reason| !reason.is_empty()), "{answered}");
    let problem: Answer = app.run(json!({"message": "Hi", "session_id": "trip"})).await;
    let problem = problem.expect_problem(502);
    assert_eq!(problem["error_type"], "model_provider_error");
    assert_eq!(problem["error_id"], "model_provider_error");
    assert!(problem["run_id"].is_string(), "{problem}");
}
