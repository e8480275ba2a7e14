//! All of one user, handed out and erased.

use colloquy::testing::{
    memories,
    model::{ModelInfo, ModelUsage, SessionId, TenantId, Usage, UserId},
    usage::{self, Purpose},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Gate, held, reply},
};

async fn with_two_users() -> TestApp {
    let app = TestApp::start().await;
    for user in ["alice", "bob"] {
        app.run(json!({"message": "hi", "session_id": user, "user_id": user})).await.expect(200);
        app.post("/memories", json!({"user_id": user, "memory": format!("{user} likes tea")})).await.expect(200);
    }
    app
}

#[tokio::test]
async fn everything_of_a_user_is_erased_and_counted() {
    let app = with_two_users().await;
    let erased = app.delete("/users/alice").await.expect(200);
    assert_eq!(
        erased,
        json!({"sessions": 1, "runs": 1, "messages": 2, "memories": 1, "jobs": 0, "idempotency_keys": 0})
    );
    app.get("/sessions/alice").await.expect_problem(404);
    assert_eq!(app.get("/memories?user_id=alice").await.expect(200)["meta"]["total_count"], 0);
    app.get("/sessions/bob").await.expect(200);
    assert_eq!(app.get("/memories?user_id=bob").await.expect(200)["meta"]["total_count"], 1);
    let again = app.delete("/users/alice").await.expect(200);
    assert_eq!(
        again,
        json!({"sessions": 0, "runs": 0, "messages": 0, "memories": 0, "jobs": 0, "idempotency_keys": 0})
    );
}

#[tokio::test]
async fn work_that_waits_for_a_user_and_answers_kept_for_them_are_erased_too() {
    let app = TestApp::with_agent(|agent| {
        agent.update_memory_on_run = true;
        agent.auto_title = true;
    })
    .await;
    for user in ["alice", "bob"] {
        let session = json!({"session_id": format!("empty of {user}"), "user_id": user});
        let create = app.request(Method::POST, "/sessions").header("Idempotency-Key", user).json(&session);
        app.send(create).await.expect(201);
        let run = json!({"message": "hi", "session_id": user, "user_id": user});
        let run = app.request(Method::POST, "/agents/assistant/runs").header("Idempotency-Key", user).json(&run);
        app.send(run).await.expect(200);
    }
    // They are queued beside the answers.
    app.get("/jobs").await.expect(200);
    let erased = app.delete("/users/alice").await.expect(200);
    assert_eq!((&erased["jobs"], &erased["idempotency_keys"]), (&json!(2), &json!(2)));
    let jobs = app.get("/jobs").await.expect(200);
    let about: Vec<&str> = jobs["data"].as_array().unwrap().iter().map(|job| job["about"].as_str().unwrap()).collect();
    assert_eq!(about, ["bob", "bob"]);
    let keys: Vec<String> = sqlx::query_scalar("select key from idempotency_keys").fetch_all(app.db()).await.unwrap();
    assert_eq!(keys, ["bob", "bob"]);
}

#[tokio::test]
async fn a_user_who_is_erased_while_a_run_and_a_job_of_theirs_are_under_way_stays_erased() {
    let app = TestApp::with_agent(|agent| agent.update_memory_on_run = true).await;
    app.run(json!({"message": "I like tea", "session_id": "one", "user_id": "alice"})).await.expect(200);
    let gate = Gate::closed();
    let learned = json!({"operations": [{"op": "add", "memory": "The user likes tea.", "turns": [1]}]}).to_string();
    app.model.then(held(&gate, reply(&learned)));
    let erase = async {
        while app.model.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        app.model.then(held(&gate, reply("Too late")));
        let run = app.run(json!({"message": "And cake", "session_id": "two", "user_id": "alice"}));
        let erase = async {
            while app.model.requests().len() < 3 {
                tokio::task::yield_now().await;
            }
            app.delete("/users/alice").await.expect(200);
            gate.open();
        };
        tokio::join!(run, erase).0
    };
    let ((), run) = tokio::join!(app.do_jobs(), erase);
    assert_eq!(run.expect(200)["status"], "CANCELLED");
    app.do_jobs().await;
    for path in ["/memories?user_id=alice", "/sessions?user_id=alice"] {
        assert_eq!(app.get(path).await.expect(200)["meta"]["total_count"], 0, "{path}");
    }
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    for table in ["runs", "messages", "memories", "memory_turns"] {
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(app.db())
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

/// Returns when so many wait for a lock with a statement like this one, or what should has ended without.
async fn until_waiting(app: &TestApp, count: i64, has_ended: impl Fn() -> bool, statement: &str) {
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock' and query ilike $1";
    while !has_ended()
        && sqlx::query_scalar::<_, i64>(waiting).bind(statement).fetch_one(app.db()).await.unwrap() < count
    {
        tokio::task::yield_now().await;
    }
}

/// An app in which alice has said something that no job is queued for. Not by a run that is learned from: its job would
/// be queued beside the test.
async fn with_something_unread() -> TestApp {
    let app = TestApp::start().await;
    app.run(json!({"message": "I like tea", "session_id": "one", "user_id": "alice"})).await.expect(200);
    app.execute(
        "insert into memory_turns (user_id, session_id, seq, agent_id) values ('alice', 'one', 1, 'assistant')",
    )
    .await;
    app
}

/// Queues, beside the test, the jobs that are missing.
fn queue(app: &TestApp) -> tokio::task::JoinHandle<Result<(), sqlx::Error>> {
    let of_task = app.app.clone();
    app.app.tasks.spawn(async move { memories::extraction::sweep(&of_task).await })
}

#[tokio::test]
async fn what_a_call_has_cost_does_not_fail_the_job_of_a_user_who_is_being_erased() {
    let app = with_something_unread().await;
    let mut erasing = colloquy::testing::database::begin(app.db()).await.unwrap();
    sqlx::query("delete from sessions").execute(&mut *erasing).await.unwrap();
    let of_task = app.app.clone();
    let adding = app.app.tasks.spawn(async move {
        let session_id = SessionId::try_from("one".to_owned()).unwrap();
        let model = ModelInfo { provider: "p".into(), id: "m".into() };
        let cost = ModelUsage { model, usage: Usage::default() };
        usage::store::add(&of_task.db, &TenantId::DEFAULT, &session_id, Purpose::Memory, &cost).await
    });
    until_waiting(&app, 1, || adding.is_finished(), "%add_usage%").await;
    erasing.commit().await.unwrap();
    adding.await.unwrap().expect("a session that is gone has no costs");
}

#[tokio::test]
async fn no_job_is_queued_for_a_user_whose_erasure_has_begun() {
    let app = with_something_unread().await;
    let mut erasing = colloquy::testing::database::begin(app.db()).await.unwrap();
    sqlx::query("delete from sessions").execute(&mut *erasing).await.unwrap();
    let queueing = queue(&app);
    until_waiting(&app, 1, || queueing.is_finished(), "%from memory_turns%").await;
    erasing.commit().await.unwrap();
    queueing.await.unwrap().unwrap();
    assert_eq!(app.count_jobs().await, 0);
}

#[tokio::test]
async fn a_job_that_is_being_queued_when_its_user_is_erased_is_erased_too() {
    let app = with_something_unread().await;
    let mut holding = colloquy::testing::database::begin(app.db()).await.unwrap();
    sqlx::query("lock table graphile_worker._private_jobs in share mode").execute(&mut *holding).await.unwrap();
    let queueing = queue(&app);
    until_waiting(&app, 1, || queueing.is_finished(), "%_private_jobs%").await;
    let (erased, ()) = tokio::join!(app.delete("/users/alice"), async {
        until_waiting(&app, 1, || queueing.is_finished(), "%delete from memory_turns%").await;
        holding.commit().await.unwrap();
        queueing.await.unwrap().unwrap();
    });
    assert_eq!(erased.expect(200)["jobs"], 1);
    assert_eq!(app.count_jobs().await, 0);
}

#[tokio::test]
async fn a_user_is_erased_while_what_was_learned_of_them_is_being_stored() {
    let app = with_something_unread().await;
    queue(&app).await.unwrap().unwrap();
    let learned = json!({"operations": [{"op": "add", "memory": "The user likes tea.", "turns": [1]}]}).to_string();
    app.model.then(reply(&learned));
    // The job has asked the model and is about to store; the erasure holds all sessions and waits for it.
    let mut holding = colloquy::testing::database::begin(app.db()).await.unwrap();
    let alice = UserId::stored("alice".into());
    memories::store::lock_user(&mut holding, &TenantId::DEFAULT, &alice).await.unwrap();
    let learning_app = app.app.clone();
    let learning = app
        .app
        .tasks
        .spawn(async move { memories::extraction::learn(&learning_app, &TenantId::DEFAULT, &alice).await });
    let waiting = "%pg_advisory_xact_lock%";
    until_waiting(&app, 1, || learning.is_finished(), waiting).await;
    let (erased, ()) = tokio::join!(app.delete("/users/alice"), async {
        until_waiting(&app, 1, || learning.is_finished(), "%from sessions%for update%").await;
        holding.commit().await.unwrap();
    });
    learning.await.unwrap().unwrap();
    assert_eq!(erased.expect(200)["memories"], 1);
    assert_eq!(app.get("/memories?user_id=alice").await.expect(200)["meta"]["total_count"], 0);
}

#[tokio::test]
async fn everything_of_a_user_is_handed_out_line_by_line() {
    let app = with_two_users().await;
    app.post("/sessions/alice/summarize", json!({})).await.expect(200);
    let answer = app.get("/users/alice/export").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["session", "message", "message", "summary", "memory", "end"]);
    assert_eq!((&lines[1]["content"], &lines[4]["memory"]), (&json!("hi"), &json!("alice likes tea")));
    assert_eq!(lines[3]["through_seq"], 1);
    assert_eq!(lines[5], json!({"type": "end", "sessions": 1, "messages": 2, "summaries": 1, "memories": 1}));
    assert!(!answer.text.contains("bob"));
    app.say("nobody's", "not hers").await;
    app.run(json!({"message": "hers", "session_id": "nobody's", "user_id": "alice"})).await.expect(200);
    let text = app.get("/users/alice/export").await.text;
    assert!(text.contains("\"hers\"") && !text.contains("\"not hers\""), "{text}");
    let of_nobody: Value = serde_json::from_str(&app.get("/users/nobody/export").await.text).unwrap();
    assert_eq!(of_nobody, json!({"type": "end", "sessions": 0, "messages": 0, "summaries": 0, "memories": 0}));
}

#[tokio::test]
async fn what_a_user_said_on_a_session_of_nobody_is_in_no_summary_once_they_are_erased() {
    let app = TestApp::start().await;
    for (message, user) in [("Hello", json!(null)), ("I like tea", json!("alice")), ("Bye", json!(null))] {
        app.run(json!({"message": message, "session_id": "s", "user_id": user})).await.expect(200);
    }
    app.model.then(reply(&json!({"summary": "Alice likes tea.", "topics": ["tea"]}).to_string()));
    app.post("/sessions/s/summarize?agent_id=assistant", json!({})).await.expect(200);
    assert!(app.get("/sessions/s").await.text.contains("tea"));
    app.delete("/users/alice").await.expect(200);
    for path in ["/sessions/s", "/sessions/s/summaries", "/sessions/s/context?agent_id=assistant"] {
        let shown = app.get(path).await;
        assert!(shown.status == 200 && !shown.text.contains("tea"), "{path}: {}", shown.text);
    }
    let (through, unfolded, tokens): (i64, i64, i64) = sqlx::query_as(
        "select summary_through, unfolded_tokens, (select sum(tokens) from outcomes where session_id = 's') from sessions",
    )
    .fetch_one(app.db())
    .await
    .unwrap();
    assert_eq!((through, unfolded), (0, tokens));
}

#[tokio::test]
async fn a_session_of_nobody_goes_on_when_the_user_whose_run_it_waits_for_is_erased() {
    let app = TestApp::start().await;
    app.say("s", "Hello").await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("Too late")));
    let of_alice = app.run(json!({"message": "I like tea", "session_id": "s", "user_id": "alice"}));
    let others = async {
        while app.model.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        let waiting = app.run(json!({"message": "Bye", "session_id": "s"}));
        let erase = async {
            let in_line = "select cardinality(waiting) from sessions where session_id = 's'";
            while sqlx::query_scalar::<_, i32>(in_line).fetch_one(app.db()).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            app.delete("/users/alice").await.expect(200);
            gate.open();
        };
        tokio::join!(waiting, erase).0
    };
    let (of_alice, waited) = tokio::join!(of_alice, others);
    assert_eq!(of_alice.expect(200)["status"], "CANCELLED");
    assert_eq!((&waited.expect(200)["status"], &app.say("s", "Again").await["seq"]), (&json!("COMPLETED"), &json!(4)));
    let session = app.get("/sessions/s").await.expect(200);
    assert_eq!((&session["run_count"], &session["message_count"]), (&json!(3), &json!(6)));
}
