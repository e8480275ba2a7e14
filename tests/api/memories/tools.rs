//! Agents that look after memories by themselves, and that look into past sessions.

use std::time::Duration;

use serde_json::{Value, json};

use super::{id, known, tell};
use crate::support::{
    TestApp,
    scripted_model::{reply, reply_with_tool_call, reply_with_tool_calls},
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn agentic() -> TestApp {
    TestApp::with_agent(|agent| {
        agent.enable_agentic_memory = true;
        agent.update_memory_on_run = true;
    })
    .await
}

async fn say(app: &TestApp, user: &str, message: &str) -> Value {
    app.run(json!({"message": message, "user_id": user})).await.expect(200)
}

fn tool_names(request: &Value) -> Vec<&str> {
    request["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["function"]["name"].as_str()).collect()
}

#[tokio::test]
async fn an_agent_remembers_and_forgets_when_its_run_settles() {
    let app = agentic().await;
    let remember = r#"{"memory": "The user likes tea.", "topics": ["drinks"]}"#;
    app.model.then(reply_with_tool_call("remember", remember)).then(reply("Noted."));
    let run = say(&app, "alice", "I like tea").await;
    assert_eq!(tool_names(&app.model.requests()[0]), ["search_memories", "remember", "forget"]);
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    // Nothing is extracted beside.
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));

    let memory = app.get("/memories?user_id=alice").await.expect(200)["data"][0].clone();
    let history = app.get(&format!("/memories/{}/history", id(&memory))).await.expect(200);
    assert_eq!(history[0]["run_id"], run["run_id"]);
    let search = r#"{"query": "tea"}"#;
    let forget = json!({"memory_id": id(&memory)}).to_string();
    app.model
        .then(reply_with_tool_call("search_memories", search))
        .then(reply_with_tool_call("forget", &forget))
        .then(reply("Forgotten."));
    let run = say(&app, "alice", "Forget that").await;
    assert!(run["tools"][0]["result"].as_str().unwrap().contains(id(&memory)), "{run}");
    assert_eq!(known(&app, "alice").await, [""; 0]);
}

/// Nobody who deletes a memory waits for whoever may be about to tell it again.
#[tokio::test]
async fn a_memory_that_is_deleted_while_it_is_told_again_does_not_fail_the_run() {
    let app = agentic().await;
    // In the same words, and in another order of them.
    for told in ["The user lives in Oslo with two cats.", "The user lives with two cats in Oslo."] {
        tell(&app, "alice", "The user lives in Oslo with two cats.").await;
        let mut deleting = colloquy::testing::database::begin(app.db()).await.unwrap();
        sqlx::query("delete from memories").execute(&mut *deleting).await.unwrap();
        let remember = json!({"memory": told}).to_string();
        app.model.then(reply_with_tool_call("remember", &remember)).then(reply("Noted."));
        let delete = async {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *deleting).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            deleting.commit().await.unwrap();
        };
        let delete = async { tokio::time::timeout(PATIENCE, delete).await.expect("the run waits for the deletion") };
        let (run, ()) = tokio::join!(say(&app, "alice", "I live in Oslo"), delete);
        assert_eq!(run["status"], "COMPLETED", "{run}");
        assert_eq!(known(&app, "alice").await, [told]);
        app.execute("delete from memories").await;
    }
}

#[tokio::test]
async fn the_tools_refuse_what_the_api_refuses() {
    let app = agentic().await;
    let foreign = tell(&app, "eve", "Eve likes golf.").await;
    let forget = json!({"memory_id": id(&foreign)}).to_string();
    let calls = [
        ("remember", r#"{"memory": "The user's password is hunter2."}"#),
        ("remember", r#"{"memory": ""}"#),
        ("remember", r#"{"memory": "x", "replaces": "no-such-id"}"#),
        ("forget", forget.as_str()),
        ("forget", r#"{"memory_id": "everything"}"#),
        ("search_memories", "{}"),
    ];
    app.model.then(reply_with_tool_calls(&calls)).then(reply("Sorry."));
    let run = say(&app, "alice", "Do it").await;
    let tools = run["tools"].as_array().unwrap();
    assert!(tools.iter().all(|tool| tool["tool_call_error"] == true), "{run}");
    assert_eq!((known(&app, "alice").await.len(), known(&app, "eve").await.len()), (0, 1));
}

#[tokio::test]
async fn a_run_that_fails_changes_no_memories_and_nobody_has_no_tools() {
    let app = agentic().await;
    app.model
        .then(reply_with_tool_call("remember", r#"{"memory": "The user likes tea."}"#))
        .then(crate::support::scripted_model::status(400, "no"));
    app.run(json!({"message": "I like tea", "user_id": "alice"})).await.expect_problem(502);
    assert_eq!(known(&app, "alice").await, [""; 0]);
    app.run(json!({"message": "I like tea"})).await.expect(200);
    assert_eq!(tool_names(app.model.requests().last().unwrap()), [""; 0]);
}

#[tokio::test]
async fn past_sessions_are_searched_by_question() {
    let app = TestApp::with_agent(|agent| agent.search_past_sessions = true).await;
    say(&app, "alice", "I saw a moose at the fjord").await;
    say(&app, "eve", "I saw a moose too").await;
    app.model.then(reply_with_tool_call("search_past_sessions", r#"{"query": "moose"}"#)).then(reply("At the fjord."));
    let run = say(&app, "alice", "Where did I see a moose?").await;
    let result = run["tools"][0]["result"].as_str().unwrap();
    assert!(result.contains("fjord") && !result.contains("too") && !result.contains("Where did"), "{result}");
}
