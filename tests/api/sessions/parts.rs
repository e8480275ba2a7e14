//! Messages by page, and single runs and messages deleted.

use serde_json::{Value, json};

use super::{column, get, hold_model};
use crate::support::{
    TestApp,
    scripted_model::{reply, reply_with_tool_call},
};

/// `One`, answered; `Two`, answered with the help of a tool; `Three`, answered.
async fn conversation() -> TestApp {
    let app = TestApp::with_agent(|agent| agent.read_chat_history = true).await;
    app.say("s-1", "One").await;
    app.model.then(reply_with_tool_call("get_chat_history", "{}")).then(reply("You said One."));
    app.say("s-1", "Two").await;
    app.say("s-1", "Three").await;
    app
}

async fn messages(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/sessions/s-1/messages?{query}")).await.expect(200)
}

/// The ids of the messages with this role, oldest first.
async fn ids_of(app: &TestApp, role: &str) -> Vec<String> {
    let page = messages(app, "limit=100").await;
    let of_role = page["data"].as_array().unwrap().iter().filter(|message| message["role"] == role);
    of_role.map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_show_each_message_once_in_both_orders() {
    let app = conversation().await;
    let whole = messages(&app, "limit=100").await;
    let roles = ["user", "assistant", "user", "assistant", "tool", "assistant", "user", "assistant"];
    assert_eq!(column(&whole["data"], "role"), roles);
    assert_eq!((&whole["data"][4]["seq"], &whole["meta"]["has_more"]), (&json!(2), &json!(false)));
    for (order, limit) in [("asc", 1), ("asc", 3), ("desc", 3), ("desc", 8)] {
        let (mut read, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = messages(&app, &format!("sort_order={order}&limit={limit}&cursor={cursor}")).await;
            read.extend(page["data"].as_array().unwrap().iter().cloned());
            let Some(next) = page["meta"]["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        if order == "desc" {
            read.reverse();
        }
        assert_eq!(json!(read), whole["data"], "{limit} at a time, {order}");
    }
    let cursor = messages(&app, "limit=1").await["meta"]["next_cursor"].as_str().unwrap().to_owned();
    for query in [format!("cursor={cursor}&sort_order=desc"), "cursor=x".into(), "limit=101".into(), "page=1".into()] {
        app.get(&format!("/sessions/s-1/messages?{query}")).await.expect_problem(422);
    }
    app.get("/sessions/nowhere/messages").await.expect_problem(404);
}

#[tokio::test]
async fn a_deleted_run_is_gone_and_the_others_keep_their_numbers() {
    let app = conversation().await;
    let runs = app.get("/sessions/s-1/runs").await.expect(200);
    let first = runs[0]["run_id"].as_str().unwrap();
    for _ in 0..2 {
        app.delete(&format!("/sessions/s-1/runs/{first}")).await.expect(204);
    }
    app.get(&format!("/sessions/s-1/runs/{first}")).await.expect_problem(404);
    let left = app.get("/sessions/s-1/runs").await.expect(200);
    assert_eq!((&left[0]["seq"], &left[1]["seq"]), (&json!(2), &json!(3)));
    assert_eq!(get(&app, "s-1").await["session_name"], "Two", "the title was taken from the deleted run");
    assert_eq!(app.say("s-1", "Four").await["seq"], 4);
    let prompt = app.model.requests().last().unwrap()["messages"].clone();
    assert_eq!(prompt[1]["content"], "Two", "{prompt}");
}

#[tokio::test]
async fn a_message_that_calls_tools_goes_with_their_results_and_a_result_does_not_go_alone() {
    let app = conversation().await;
    let result = ids_of(&app, "tool").await.remove(0);
    app.delete(&format!("/sessions/s-1/messages/{result}")).await.expect_problem(409);
    let call = ids_of(&app, "assistant").await.remove(1);
    app.delete(&format!("/sessions/s-1/messages/{call}")).await.expect(204);
    assert_eq!(
        column(&messages(&app, "").await["data"], "content"),
        ["One", "Hello! You said: One", "Two", "You said One.", "Three", "Hello! You said: Three"]
    );
    assert_eq!(app.get("/sessions/s-1/runs").await.expect(200)[1]["tools"], json!([]));
    app.say("s-1", "Four").await;
    let prompt = app.model.requests().last().unwrap().to_string();
    assert!(!prompt.contains("\"tool\"") && !prompt.contains("call_1"), "{prompt}");
}

#[tokio::test]
async fn what_a_deleted_message_said_is_nowhere_any_more() {
    let app = TestApp::start().await;
    app.say("s-1", "My secret is Rosebud").await;
    let (question, answer) = (ids_of(&app, "user").await.remove(0), ids_of(&app, "assistant").await.remove(0));
    for id in [question, answer] {
        app.delete(&format!("/sessions/s-1/messages/{id}")).await.expect(204);
        app.delete(&format!("/sessions/s-1/messages/{id}")).await.expect(204);
    }
    for path in ["/sessions/s-1", "/sessions/s-1/runs", "/sessions/s-1/messages", "/sessions/s-1/export", "/sessions"] {
        let shown = app.get(path).await;
        assert!(shown.status == 200 && !shown.text.contains("Rosebud"), "{path}: {}", shown.text);
    }
    assert_eq!(app.get("/sessions?q=rosebud").await.expect(200)["data"], json!([]));
    app.say("s-1", "Hello").await;
    assert!(!app.model.requests().last().unwrap().to_string().contains("Rosebud"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_has_not_ended_is_not_deleted() {
    let app = TestApp::start().await;
    let held = hold_model(&app);
    let during = app.run(json!({"message": "During", "session_id": "s-1"}));
    let refused = held.meanwhile(async {
        let run = app.get("/sessions/s-1/runs").await.expect(200)[0]["run_id"].as_str().unwrap().to_owned();
        let message = ids_of(&app, "user").await.remove(0);
        app.delete(&format!("/sessions/s-1/runs/{run}")).await.expect_problem(409);
        app.delete(&format!("/sessions/s-1/messages/{message}")).await.expect_problem(409);
    });
    let (run, ()) = tokio::join!(during, refused);
    assert_eq!(run.expect(200)["status"], "COMPLETED");
}

#[tokio::test]
async fn other_users_delete_nothing() {
    let app = TestApp::start().await;
    app.run(json!({"message": "Hi", "session_id": "s-1", "user_id": "alice"})).await.expect(200);
    let run = app.get("/sessions/s-1/runs").await.expect(200)[0]["run_id"].as_str().unwrap().to_owned();
    let message = ids_of(&app, "user").await.remove(0);
    app.delete(&format!("/sessions/s-1/runs/{run}?user_id=bob")).await.expect_problem(404);
    app.delete(&format!("/sessions/s-1/messages/{message}?user_id=bob")).await.expect_problem(404);
    app.delete(&format!("/sessions/s-1/messages/{message}?type=team")).await.expect_problem(404);
    assert_eq!(messages(&app, "user_id=alice").await["data"].as_array().unwrap().len(), 2);
}
