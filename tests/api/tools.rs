//! Tools: offered as switched on, executed, told to the model, kept with the conversation.

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Gate, held, reply, reply_with_tool_call, reply_with_tool_calls},
};

async fn app_with_tools() -> TestApp {
    TestApp::with_agent(|agent| {
        agent.enable_agentic_state = true;
        agent.read_chat_history = true;
    })
    .await
}

fn tool_names(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn only_what_is_switched_on_is_offered() {
    let app = TestApp::start().await;
    app.say("s", "hi").await;
    assert!(tool_names(&app.model.requests()[0]).is_empty());
    let app = app_with_tools().await;
    app.say("s", "hi").await;
    assert_eq!(tool_names(&app.model.requests()[0]), ["get_chat_history", "update_session_state"]);
}

#[tokio::test]
async fn the_model_changes_the_sessions_state() {
    let app = app_with_tools().await;
    app.model.then(reply_with_tool_call("update_session_state", r#"{"session_state_updates": {"city": "Paris"}}"#));
    app.model.then(reply("Noted."));
    let run = app.say("s", "I live in Paris").await;
    assert_eq!(run["content"], "Noted.");
    assert_eq!(run["session_state"], json!({"city": "Paris"}));
    let tool = &run["tools"][0];
    assert_eq!((&tool["tool_name"], &tool["tool_call_error"]), (&json!("update_session_state"), &json!(false)));
    assert_eq!(app.get("/sessions/s").await.expect(200)["session_state"], json!({"city": "Paris"}));
    let told = &app.model.requests()[1]["messages"];
    let roles: Vec<_> = told.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
}

#[tokio::test]
async fn a_state_that_would_be_too_large_is_refused_to_the_caller_and_to_the_model() {
    let app = TestApp::with(|settings| {
        settings.sessions.max_state_bytes = 40;
        settings.agents[0].enable_agentic_state = true;
    })
    .await;
    let large = json!({"message": "hi", "session_id": "s", "session_state": {"a": "x".repeat(40)}});
    app.run(large).await.expect_problem(422);
    let small = json!({"message": "hi", "session_id": "s", "session_state": {"a": "x".repeat(20)}});
    app.run(small).await.expect(200);
    // Too large beside what is there already.
    let more = json!({"message": "hi", "session_id": "s", "session_state": {"b": "x".repeat(20)}});
    app.run(more).await.expect_problem(422);
    let stored = &app.get("/sessions/s/runs").await.expect(200)[1];
    assert_eq!((&stored["status"], &stored["error"]["type"]), (&json!("ERROR"), &json!("state_too_large")), "{stored}");
    let call = r#"{"session_state_updates": {"c": "a text of thirty characters or so"}}"#;
    app.model.then(reply_with_tool_call("update_session_state", call)).then(reply("I keep it short."));
    let run = app.say("s", "Remember all of it").await;
    assert_eq!((&run["content"], &run["tools"][0]["tool_call_error"]), (&json!("I keep it short."), &json!(true)));
    assert!(run["tools"][0]["result"].as_str().unwrap().contains("store less"), "{run}");
    assert_eq!(run["session_state"], json!({"a": "x".repeat(20)}));
}

#[tokio::test]
async fn a_change_of_the_state_that_no_longer_fits_when_its_run_is_settled_is_left_out() {
    let app = TestApp::with(|settings| settings.sessions.max_state_bytes = 40).await;
    app.say("s", "hello").await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("done")));
    let run = app.run(json!({"message": "hi", "session_id": "s", "session_state": {"b": "x".repeat(20)}}));
    let meanwhile = async {
        while app.model.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        app.patch("/sessions/s", json!({"session_state": {"a": "x".repeat(25)}})).await.expect(200);
        gate.open();
    };
    let (run, ()) = tokio::join!(run, meanwhile);
    assert_eq!(run.expect(200)["status"], "COMPLETED");
    assert_eq!(app.get("/sessions/s").await.expect(200)["session_state"], json!({"a": "x".repeat(25)}));
}

#[tokio::test]
async fn the_model_reads_beyond_its_window() {
    let app = TestApp::with_agent(|agent| {
        agent.read_chat_history = true;
        agent.num_history_runs = 1;
    })
    .await;
    for number in 1..=3 {
        app.say("s", &format!("fact {number}")).await;
    }
    app.model.then(reply_with_tool_call("get_chat_history", r#"{"num_chats": 2}"#)).then(reply("found"));
    let run = app.say("s", "what did I say?").await;
    let result = run["tools"][0]["result"].as_str().unwrap();
    assert!(result.contains("fact 2") && result.contains("fact 3") && !result.contains("fact 1"), "{result}");
}

#[tokio::test]
async fn a_tool_call_goes_into_later_prompts_with_its_result() {
    let app = app_with_tools().await;
    app.model.then(reply_with_tool_calls(&[
        ("update_session_state", r#"{"session_state_updates": {"a": 1}}"#),
        ("get_chat_history", "{}"),
    ]));
    app.model.then(reply("done"));
    app.say("s", "go").await;
    app.say("s", "next").await;
    let requests = app.model.requests();
    let messages = requests[2]["messages"].as_array().unwrap();
    let call_ids: Vec<_> = messages[2]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    assert_eq!(call_ids, [&messages[3]["tool_call_id"], &messages[4]["tool_call_id"]]);
    assert_eq!(messages[5]["content"], "done");
}

#[tokio::test]
async fn a_tool_that_fails_is_told_to_the_model_and_the_run_goes_on() {
    let app = app_with_tools().await;
    app.model.then(reply_with_tool_call("update_session_state", r#"{"wrong": 1}"#));
    app.model.then(reply_with_tool_call("no_such_tool", "{}"));
    app.model.then(reply("sorry"));
    let run = app.say("s", "go").await;
    assert_eq!(run["content"], "sorry");
    assert!(run["tools"].as_array().unwrap().iter().all(|tool| tool["tool_call_error"] == true), "{run}");
    let told = app.model.requests()[2]["messages"].to_string();
    assert!(
        told.contains("session_state_updates must be an object") && told.contains("no tool no_such_tool"),
        "{told}"
    );
}

#[tokio::test]
async fn a_model_that_only_calls_tools_is_stopped() {
    let app = TestApp::with_agent(|agent| {
        agent.read_chat_history = true;
        agent.tool_call_limit = 3;
    })
    .await;
    app.model.otherwise(|_| reply_with_tool_call("get_chat_history", "{}"));
    let problem = app.run(json!({"message": "go", "session_id": "s"})).await.expect_problem(502);
    assert_eq!(problem["error_type"], "tool_loop");
    let requests = app.model.requests();
    assert_eq!(requests.len(), 4);
    assert!(tool_names(&requests[3]).is_empty(), "at last the model is asked without tools");
}

#[tokio::test]
async fn a_tools_progress_is_streamed() {
    let app = app_with_tools().await;
    app.model.then(reply_with_tool_call("get_chat_history", "{}")).then(reply("done"));
    let events = app.run(json!({"message": "go", "stream": true})).await.events();
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    let position = |name| names.iter().position(|known| *known == name).unwrap();
    assert!(position("ModelRequestCompleted") < position("ToolCallStarted"));
    assert!(position("ToolCallStarted") < position("ToolCallCompleted"));
    assert!(position("ToolCallCompleted") < position("RunContent"));
    let completed = &events[position("ToolCallCompleted")].data;
    assert!(completed["content"].as_str().unwrap().starts_with("get_chat_history() completed in "), "{completed}");
}

#[tokio::test]
async fn arguments_that_nest_too_deep_fail_the_tool_and_not_the_session() {
    let app = app_with_tools().await;
    for levels in [60, 64, 65, 100, 120, 125, 126] {
        let deep = format!("{}1{}", r#"{"session_state_updates":"#.repeat(levels), "}".repeat(levels));
        app.model.then(reply_with_tool_call("update_session_state", &deep)).then(reply("done"));
        app.say("s", "go").await;
        app.get("/sessions/s").await.expect(200);
        app.get("/sessions/s/runs").await.expect(200);
    }
    app.say("s", "still there").await;
}
