//! Forks, exports and imports.

use colloquy::testing::{
    model::{Scope, TenantId},
    sessions::store::{self, ExportedLine},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{column, create, get, hold_model, ids, list, rows};
use crate::support::{
    TestApp,
    scripted_model::{reply, reply_with_tool_call},
};

/// Three runs of Alice, the second with a tool.
async fn conversation() -> TestApp {
    let app = TestApp::with_agent(|agent| agent.read_chat_history = true).await;
    for (message, state) in [("One", json!({"step": 1})), ("Two", json!({"step": 2})), ("Three", json!({"step": 3}))] {
        if message == "Two" {
            app.model.then(reply_with_tool_call("get_chat_history", "{}")).then(reply("You said One."));
        }
        let body = json!({"message": message, "session_id": "s-1", "user_id": "alice", "session_state": state});
        app.run(body).await.expect(200);
    }
    app
}

async fn runs(app: &TestApp, session_id: &str) -> Value {
    app.get(&format!("/sessions/{session_id}/runs")).await.expect(200)
}

async fn export(app: &TestApp, session_id: &str) -> String {
    let answer = app.get(&format!("/sessions/{session_id}/export")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    answer.text
}

#[tokio::test]
async fn a_fork_has_everything_but_the_ids_and_the_costs() {
    let app = conversation().await;
    let fork = app.post("/sessions/s-1/fork", json!({"session_name": "Copy"})).await;
    assert!(fork.headers.contains_key("etag"));
    let fork = fork.expect(201);
    let (source, id) = (get(&app, "s-1").await, fork["session_id"].as_str().unwrap());
    assert_eq!((&fork["forked_from_session_id"], &fork["session_name"]), (&json!("s-1"), &json!("Copy")));
    for same in ["user_id", "agent_id", "session_state", "run_count", "metadata"] {
        assert_eq!(fork[same], source[same], "{same}");
    }
    assert_eq!(fork["metrics"], json!({}));
    assert_eq!(column(&fork["messages"], "content"), column(&source["messages"], "content"));
    let (theirs, ours) = (runs(&app, id).await, runs(&app, "s-1").await);
    for (one, other) in theirs.as_array().unwrap().iter().zip(ours.as_array().unwrap()) {
        assert_eq!((&one["run_input"], &one["content"]), (&other["run_input"], &other["content"]));
        assert_ne!(one["run_id"], other["run_id"]);
        assert_ne!(one["messages"][0]["id"], other["messages"][0]["id"]);
    }
    assert_eq!(ids(&list(&app, "q=one").await), [id, "s-1"], "a copy is found by what was said");
}

#[tokio::test]
async fn a_fork_goes_on_without_repeating_a_turn_and_leaves_its_source_alone() {
    let app = conversation().await;
    app.post("/sessions/s-1/fork", json!({"session_id": "copy"})).await.expect(201);
    app.run(json!({"message": "Four", "session_id": "copy", "user_id": "alice"})).await.expect(200);
    let prompt = app.model.requests().last().unwrap()["messages"].to_string();
    assert_eq!(prompt.matches("Three").count(), 2, "once asked, once answered: {prompt}");
    assert_eq!((&get(&app, "copy").await["run_count"], &get(&app, "s-1").await["run_count"]), (&json!(4), &json!(3)));
}

#[tokio::test]
async fn a_fork_up_to_a_run_has_the_state_of_that_time() {
    let app = conversation().await;
    let second = runs(&app, "s-1").await[1]["run_id"].clone();
    let fork = app.post("/sessions/s-1/fork", json!({"session_id": "copy", "up_to_run_id": second})).await.expect(201);
    assert_eq!((&fork["run_count"], &fork["session_state"]), (&json!(2), &json!({"step": 2})));
    app.post("/sessions/copy/fork", json!({"up_to_run_id": second})).await.expect_problem(422);
    app.post("/sessions/s-1/fork", json!({"session_id": "copy"})).await.expect_problem(409);
    app.post("/sessions/s-1/fork?user_id=bob", json!({})).await.expect_problem(404);
    app.post("/sessions/s-1/fork?type=team", json!({})).await.expect_problem(404);
}

/// Turns that were said elsewhere have no state of their own.
#[tokio::test]
async fn a_fork_up_to_an_appended_turn_keeps_the_state() {
    let app = conversation().await;
    let turns = json!({"user_id": "alice", "messages": [{"role": "user", "content": "Four"}]});
    let appended = app.post("/sessions/s-1/messages", turns.clone()).await.expect(201);
    let body = json!({"message": "Five", "session_id": "s-1", "user_id": "alice", "session_state": {"step": 5}});
    app.run(body).await.expect(200);
    let up_to = json!({"up_to_run_id": appended["run_ids"][0]});
    assert_eq!(app.post("/sessions/s-1/fork", up_to).await.expect(201)["session_state"], json!({"step": 3}));
    let body = json!({"session_id": "s-2", "user_id": "alice", "session_state": {"step": 0}});
    app.post("/sessions", body).await.expect(201);
    let appended = app.post("/sessions/s-2/messages", turns).await.expect(201);
    let up_to = json!({"up_to_run_id": appended["run_ids"][0]});
    assert_eq!(app.post("/sessions/s-2/fork", up_to).await.expect(201)["session_state"], json!({"step": 0}));
}

#[tokio::test]
async fn a_fork_is_asked_for_as_agentos_clients_do() {
    let app = conversation().await;
    let path = "/agents/assistant/sessions/s-1/fork";
    let fork = app.send(app.request(Method::POST, &format!("{path}?user_id=alice"))).await.expect(200);
    assert_eq!(fork["forked_from_session_id"], "s-1");
    assert_eq!(get(&app, fork["session_id"].as_str().unwrap()).await["run_count"], 3);
    app.send(app.request(Method::POST, &format!("{path}?user_id=bob"))).await.expect_problem(404);
    create(&app, json!({"session_id": "empty"})).await;
    let empty = app.send(app.request(Method::POST, "/agents/assistant/sessions/empty/fork")).await.expect_problem(400);
    assert!(empty["detail"].as_str().unwrap().starts_with("Source session has no runs to fork"));
    app.send(app.request(Method::POST, "/agents/nobody/sessions/s-1/fork")).await.expect_problem(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_under_way_is_not_copied() {
    let app = TestApp::start().await;
    app.say("s-1", "Before").await;
    let held = hold_model(&app);
    let during = app.run(json!({"message": "During", "session_id": "s-1"}));
    let copies = held.meanwhile(async {
        (app.post("/sessions/s-1/fork", json!({"session_id": "copy"})).await, export(&app, "s-1").await)
    });
    let (run, (fork, exported)) = tokio::join!(during, copies);
    run.expect(200);
    assert_eq!(fork.expect(201)["run_count"], 1);
    assert!(!exported.contains("During"));
    app.say("copy", "After").await;
    assert_eq!(get(&app, "copy").await["run_count"], 2);
}

#[tokio::test]
async fn an_export_is_read_in_again_and_is_the_same() {
    let app = conversation().await;
    let before = (get(&app, "s-1").await, runs(&app, "s-1").await);
    let exported = export(&app, "s-1").await;
    let counts = rows(&app).await;
    app.delete("/sessions/s-1").await.expect(204);
    let imported = app.import(&exported).await.expect(201);
    let expected = json!({"session_id": "s-1", "run_count": 3, "message_count": 8, "created": true});
    assert_eq!(imported, expected);
    assert_eq!((get(&app, "s-1").await, runs(&app, "s-1").await), before);
    assert_eq!(rows(&app).await, counts);
    assert_eq!(export(&app, "s-1").await, exported);
    assert_eq!(ids(&list(&app, "q=three").await), ["s-1"]);
    app.run(json!({"message": "Four", "session_id": "s-1", "user_id": "alice"})).await.expect(200);
}

#[tokio::test]
async fn what_is_there_and_the_same_is_left_alone_and_what_differs_is_a_conflict() {
    let app = conversation().await;
    let exported = export(&app, "s-1").await;
    assert_eq!(app.import(&exported).await.expect(200)["created"], false);
    app.import(&exported.replace("Three", "Tree")).await.expect_problem(409);
    let copy = exported.replacen("\"s-1\"", "\"s-2\"", 1);
    let problem = app.import(&copy).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("fork"), "{problem}");
    app.run(json!({"message": "Four", "session_id": "s-1", "user_id": "alice"})).await.expect(200);
    app.import(&exported).await.expect_problem(409);
    assert_eq!(rows(&app).await.0, 1);
}

#[tokio::test]
async fn an_import_that_is_wrong_is_refused_by_its_line_and_stores_nothing() {
    let app = conversation().await;
    let exported = export(&app, "s-1").await;
    app.delete("/sessions/s-1").await.expect(204);
    let lines: Vec<&str> = exported.lines().collect();
    let without = |place: usize| {
        let rest: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, line)| *line).collect();
        rest.join("\n")
    };
    let run = lines.iter().position(|line| line.contains(r#""kind" : "run""#)).unwrap();
    for (body, status, mentions) in [
        (String::new(), 422, "last line"),
        (without(lines.len() - 1), 422, "last line"),
        (without(0), 422, "line 1 is not the session"),
        (without(run), 422, "apart from its run"),
        (without(run + 1), 422, "counts 3 runs"),
        (exported.replacen("\"seq\" : 2", "\"seq\" : 1", 1), 422, "out of order"),
        (exported.replacen("COMPLETED", "RUNNING", 1), 422, "not ended"),
        (exported.replacen("COMPLETED", "DONE", 1), 422, "status"),
        (exported.replacen("\"tokens\" : ", "\"tokens\" : -", 1), 422, "tokens"),
        (exported.replacen("\"One\"", "\"One\\u0000\"", 1), 422, "NUL"),
        (exported.replacen(r#""kind" : "run""#, r#""kind" : "walk""#, 1), 422, "kind"),
        (exported.replacen("\"pinned\"", "\"pin\"", 1), 422, "pin"),
        (exported.replacen('{', "", 1), 400, "Line 1"),
        (format!("{exported}{exported}"), 422, "after the end"),
    ] {
        let problem = app.import(&body).await.expect_problem(status);
        assert!(problem["detail"].as_str().unwrap().contains(mentions), "{mentions}: {problem}");
    }
    let of_bob = app.request(Method::POST, "/sessions/import?user_id=bob");
    app.send(of_bob.header("content-type", "application/x-ndjson").body(exported)).await.expect_problem(422);
    app.post("/sessions/import", json!({})).await.expect_problem(415);
    assert_eq!(rows(&app).await, (0, 0, 0, 0));
}

#[tokio::test]
async fn an_export_may_be_larger_than_other_bodies() {
    let app = TestApp::with(|settings| {
        settings.server.max_body_bytes = 10_000;
        settings.sessions.max_import_bytes = Some(200_000);
    })
    .await;
    for _ in 0..3 {
        app.say("s-1", &"x".repeat(9_000)).await;
    }
    let exported = export(&app, "s-1").await;
    assert!(exported.len() > 50_000);
    app.delete("/sessions/s-1").await.expect(204);
    app.import(&exported).await.expect(201);
    app.import(&"x".repeat(200_001)).await.expect_problem(413);
}

/// A session of so many runs with a message of a megabyte each.
async fn huge_session(app: &TestApp, runs: i32) {
    let statements = [
        "insert into sessions (session_id, last_seq) values ('huge', $1)",
        "insert into runs (session_id, seq, input)
         select 'huge', n, n || repeat(' word', 200000) from generate_series(1, $1) n",
        "insert into outcomes (session_id, seq, content, answer_index, answer_id)
         select 'huge', n, null, null, null from generate_series(1, $1) n",
    ];
    for statement in statements {
        sqlx::query(statement).bind(runs).execute(app.db()).await.unwrap();
    }
}

#[tokio::test]
async fn an_export_of_any_size_is_read_in_again() {
    let app = TestApp::start().await;
    huge_session(&app, 70).await;
    let exported = export(&app, "huge").await;
    assert!(exported.len() > 64 * 1024 * 1024);
    app.delete("/sessions/huge").await.expect(204);
    let imported = app.import(&exported).await.expect(201);
    assert_eq!((&imported["run_count"], &imported["message_count"]), (&json!(70), &json!(70)));
    assert!(export(&app, "huge").await == exported);
}

#[tokio::test]
async fn an_export_is_read_in_pieces_of_a_bounded_size() {
    let app = TestApp::start().await;
    huge_session(&app, 6).await;
    let session_id = "huge".to_owned().try_into().unwrap();
    let (mut after, mut pieces) = ((0, ExportedLine::SUMMARY), Vec::new());
    loop {
        let lines = store::export_lines(&app.app.db, &Scope::Tenant(TenantId::DEFAULT), &session_id, after, 256 * 1024)
            .await
            .unwrap();
        let Some(last) = lines.last() else { break };
        after = (last.seq, last.place);
        pieces.push(lines.iter().map(|line| line.line.len()).sum::<usize>());
    }
    assert!(pieces.len() >= 6 && pieces.iter().all(|bytes| *bytes < 1_300_000), "{pieces:?}");
}
