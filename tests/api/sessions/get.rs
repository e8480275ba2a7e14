//! `GET /sessions/{session_id}`.

use serde_json::{Value, json};

use super::{column, create, get};
use crate::support::{
    TestApp,
    scripted_model::{reply, reply_with_tool_call},
};

/// Two runs, the second of which uses a tool.
async fn conversation_with_a_tool() -> TestApp {
    let app = TestApp::with_agent(|agent| agent.read_chat_history = true).await;
    app.say("s-1", "First").await;
    app.model.then(reply_with_tool_call("get_chat_history", "{}")).then(reply("You said First."));
    app.say("s-1", "What did I say?").await;
    app
}

#[tokio::test]
async fn a_session_shows_what_was_said_oldest_first() {
    let app = TestApp::start().await;
    app.run(json!({"message": "One", "session_id": "s-1", "user_id": "alice"})).await.expect(200);
    app.run(json!({"message": "Two", "session_id": "s-1", "user_id": "alice"})).await.expect(200);
    let session = get(&app, "s-1").await;
    assert_eq!(
        column(&session["chat_history"], "content"),
        ["One", "Hello! You said: One", "Two", "Hello! You said: Two"]
    );
    assert_eq!(column(&session["chat_history"], "role"), ["user", "assistant", "user", "assistant"]);
    assert_eq!(session["messages"], session["chat_history"]);
    assert_eq!((&session["run_count"], &session["user_id"]), (&json!(2), &json!("alice")));
    assert_eq!(session["agent_data"]["name"], "Assistant");
    assert!(session.get("messages_cursor").is_none(), "{session}");
}

#[tokio::test]
async fn tool_and_system_messages_are_not_part_of_what_was_said() {
    let app = conversation_with_a_tool().await;
    let session = get(&app, "s-1").await;
    let said = session["chat_history"].as_array().unwrap();
    assert_eq!(column(&session["chat_history"], "role"), ["user", "assistant", "user", "assistant", "assistant"]);
    let call = &said[3];
    assert!(call.get("content").is_none(), "{call}");
    assert_eq!(call["tool_calls"][0]["function"]["name"], "get_chat_history");
    assert_eq!(said[4]["content"], "You said First.");
}

#[tokio::test]
async fn pages_of_any_size_show_each_message_once_over_the_whole_conversation() {
    let app = conversation_with_a_tool().await;
    app.say("s-1", "Third").await;
    let whole = get(&app, "s-1").await["messages"].as_array().unwrap().clone();
    assert_eq!(whole.len(), 7);
    for limit in 1..=8 {
        let mut read: Vec<Value> = Vec::new();
        let mut before = String::new();
        loop {
            let page = get(&app, &format!("s-1?messages_limit={limit}&messages_before={before}")).await;
            let messages = page["messages"].as_array().unwrap();
            assert!(!messages.is_empty() && messages.len() <= limit, "{page}");
            read.splice(0..0, messages.iter().cloned());
            let Some(cursor) = page.get("messages_cursor") else { break };
            assert_eq!(messages.len(), limit, "a page is full where more is to come");
            before = cursor.as_str().unwrap().to_owned();
        }
        assert_eq!(read, whole, "{limit} at a time");
    }
}

#[tokio::test]
async fn a_cursor_of_another_session_leads_nowhere() {
    let app = TestApp::start().await;
    for session in ["s-1", "s-2"] {
        app.say(session, "Hello").await;
    }
    let cursor = get(&app, "s-1?messages_limit=1").await["messages_cursor"].as_str().unwrap().to_owned();
    app.get(&format!("/sessions/s-1?messages_before={cursor}")).await.expect(200);
    app.get(&format!("/sessions/s-2?messages_before={cursor}")).await.expect_problem(422);
}

#[tokio::test]
async fn the_newest_hundred_messages_are_shown_unless_more_are_asked_for() {
    let app = TestApp::start().await;
    app.say("s-1", "Hello").await;
    app.execute(
        "insert into run_steps (session_id, seq, index, role, content)
         select 's-1', 1, i, 'user', 'filler' from generate_series(2, 130) i",
    )
    .await;
    assert_eq!(get(&app, "s-1").await["messages"].as_array().unwrap().len(), 100);
    assert_eq!(get(&app, "s-1?messages_limit=1000").await["messages"].as_array().unwrap().len(), 131);
}

#[tokio::test]
async fn a_session_of_another_type_is_not_found() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    get(&app, "s-1?type=agent").await;
    for (kind, named) in [("team", "Team"), ("workflow", "Workflow")] {
        let problem = app.get(&format!("/sessions/s-1?type={kind}")).await.expect_problem(404);
        assert_eq!(problem["detail"], format!("{named} Session with id 's-1' not found"));
        app.get(&format!("/sessions/s-1/runs?type={kind}")).await.expect_problem(404);
    }
}

#[tokio::test]
async fn another_users_session_is_not_found_by_any_way() {
    let app = TestApp::start().await;
    let owned = json!({"message": "My secret", "session_id": "s-1", "user_id": "alice"});
    let run_id = app.run(owned).await.expect(200)["run_id"].as_str().unwrap().to_owned();
    get(&app, "s-1?user_id=alice").await;
    let paths = [
        "/sessions/s-1?user_id=bob".to_owned(),
        "/sessions/s-1/runs?user_id=bob".to_owned(),
        "/agents/assistant/runs?session_id=s-1&user_id=bob".to_owned(),
        format!("/agents/assistant/runs/{run_id}?user_id=bob"),
    ];
    for path in paths {
        let problem = app.get(&path).await.expect_problem(404);
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let intrusion = json!({"message": "Hi", "session_id": "s-1", "user_id": "bob"});
    app.run(intrusion).await.expect_problem(404);
    app.run(json!({"message": "Hi", "session_id": "s-1"})).await.expect_problem(404);
    assert_eq!(get(&app, "s-1").await["run_count"], 1);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_found() {
    let app = TestApp::start().await;
    let problem = app.get("/sessions/nowhere").await.expect_problem(404);
    assert_eq!(problem["detail"], "Session with id 'nowhere' not found");
    app.get("/sessions/nowhere/runs").await.expect_problem(404);
    app.get("/agents/assistant/runs?session_id=nowhere").await.expect_problem(404);
}
