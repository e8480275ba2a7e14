//! What is stored, when, and what a failure leaves behind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Behaviour, Gate, cut_stream_after, garbage, hang, held, reply, status, status_with_retry_after},
};

#[tokio::test]
async fn a_run_can_be_read_again() {
    let app = TestApp::start().await;
    let body = json!({"message": "hi", "user_id": "alice", "metadata": {"source": "test"}});
    let run = app.run(body).await.expect(200);
    assert_eq!(run["content"], "Hello! You said: hi");
    assert_eq!((&run["seq"], &run["status"]), (&json!(1), &json!("COMPLETED")));
    let path = format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap());
    let stored = app.get(&path).await.expect(200);
    for field in ["run_id", "session_id", "user_id", "content", "metrics", "metadata", "model", "context", "created_at"]
    {
        assert_eq!(stored[field], run[field], "{field}");
    }
    assert_eq!(stored["messages"].as_array().unwrap().len(), 2);
    let session = run["session_id"].as_str().unwrap();
    let listed = app.get(&format!("/agents/assistant/runs?session_id={session}&status=COMPLETED")).await.expect(200);
    assert_eq!(listed[0]["run_id"], run["run_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_run_is_stored_before_the_model_is_called() {
    let app = TestApp::start().await;
    let (send, receive) = std::sync::mpsc::channel::<Behaviour>();
    let waiting = std::sync::Mutex::new(receive);
    let called = std::sync::Arc::new(tokio::sync::Notify::new());
    let tell = called.clone();
    app.model.otherwise(move |_| {
        tell.notify_one();
        tokio::task::block_in_place(|| waiting.lock().unwrap().recv().unwrap())
    });
    let question = json!({"message": "hi", "session_id": "s"});
    let run = app.run(question);
    let look = async {
        called.notified().await;
        let runs = app.get("/sessions/s/runs").await.expect(200);
        assert_eq!((&runs[0]["status"], &runs[0]["run_input"]), (&json!("RUNNING"), &json!("hi")));
        let messages = app.get("/sessions/s").await.expect(200)["chat_history"].clone();
        assert_eq!((messages.as_array().unwrap().len(), &messages[0]["content"]), (1, &json!("hi")));
        send.send(reply("done")).unwrap();
    };
    let (run, ()) = tokio::join!(run, look);
    assert_eq!(run.expect(200)["content"], "done");
}

#[tokio::test]
async fn runs_of_a_session_are_numbered_without_gaps_even_at_once() {
    let app = TestApp::start().await;
    let runs = (0..20).map(|number| app.run(json!({"message": number.to_string(), "session_id": "s"})));
    let runs = futures::future::join_all(runs).await;
    let mut numbers: Vec<i64> = runs.iter().map(|run| run.expect(200)["seq"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let session = app.get("/sessions/s").await.expect(200);
    assert_eq!(session["run_count"], 20);
    assert_eq!(session["chat_history"].as_array().unwrap().len(), 40);
    let tokens: i64 = runs.iter().map(|run| run.json()["metrics"]["total_tokens"].as_i64().unwrap()).sum();
    assert_eq!(session["total_tokens"], tokens, "no run's costs are lost");
}

#[tokio::test]
async fn no_connection_is_held_while_the_model_thinks() {
    let app = TestApp::with(|settings| settings.database.max_connections = 2).await;
    for _ in 0..10 {
        app.model.then(hang());
    }
    let thinking = futures::future::join_all((0..10).map(|_| app.run(json!({"message": "hi"}))));
    let looking = async {
        while app.model.requests().len() < 10 {
            tokio::task::yield_now().await;
        }
        app.get("/sessions").await.expect(200);
    };
    tokio::select! {
        _ = thinking => panic!("the model never answers"),
        () = looking => {}
    }
}

#[tokio::test]
async fn connections_that_runs_keep_for_one_another_go_back_to_the_pool() {
    let app = TestApp::start().await;
    let pool = &app.app.db;
    let is_all_back = || pool.num_idle() == pool.size() as usize;
    app.say("s", "hi").await;
    app.say("s", "and again").await;
    assert!(!is_all_back(), "the next run finds a connection that it need not ask the pool for");
    while !is_all_back() {
        tokio::task::yield_now().await;
    }
}

async fn expect_failure(app: &TestApp, behaviour: Behaviour, code: u16, kind: &str) {
    app.model.then(behaviour);
    let problem = app.run(json!({"message": "fails", "session_id": "s"})).await.expect_problem(code);
    assert_eq!(problem["error_type"], kind, "{problem}");
    let path = format!("/agents/assistant/runs/{}", problem["run_id"].as_str().unwrap());
    let run = app.get(&path).await.expect(200);
    assert_eq!((&run["status"], &run["error"]["type"]), (&json!("ERROR"), &json!(kind)));
    assert_eq!(run["content"], problem["detail"]);
}

#[tokio::test]
async fn a_failing_model_leaves_a_readable_run_and_a_usable_session() {
    let app = TestApp::with(|settings| {
        settings.models.get_mut("fast").unwrap().timeout = Duration::from_millis(300);
    })
    .await;
    app.say("s", "before").await;
    for behaviour in [status(500, "down"), status(401, "bad key"), status_with_retry_after(429, "1"), garbage()] {
        expect_failure(&app, behaviour, 502, "model_provider_error").await;
    }
    expect_failure(&app, hang(), 504, "model_timeout").await;
    app.say("s", "after").await;
    let prompt = app.model.requests().last().unwrap()["messages"].to_string();
    assert!(prompt.contains("before") && !prompt.contains("fails"), "{prompt}");
    assert_eq!(app.get("/sessions/s").await.expect(200)["run_count"], 7);
}

#[tokio::test]
async fn a_form_gets_a_failure_as_agent_os_tells_it() {
    let app = TestApp::start().await;
    app.model.then(status(500, "down"));
    let fields = [("message", "hi"), ("stream", "false"), ("session_id", "s")];
    let run = app.post_form("/agents/assistant/runs", &fields).await.expect(200);
    assert_eq!(run["status"], "ERROR");
    assert!(run["content"].as_str().unwrap().starts_with("The model fast cannot be reached"), "{run}");
}

#[tokio::test]
async fn a_cut_stream_is_an_error_and_no_half_answer_is_seen_again() {
    let app = TestApp::start().await;
    app.model.then(cut_stream_after(2, "half an answer only"));
    let body = json!({"message": "hi", "session_id": "s", "stream": true});
    let events = app.run(body).await.events();
    let last = events.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["error_type"]), ("RunError", &json!("model_provider_error")));
    app.say("s", "again").await;
    assert!(!app.model.requests()[1].to_string().contains("half"));
}

#[tokio::test]
async fn nobody_hears_completed_when_settling_fails() {
    let app = TestApp::start().await;
    app.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$;
         create trigger refuse before insert on public.outcomes for each row
             when (new.status = 'COMPLETED') execute function refuse();",
    )
    .await;
    app.run(json!({"message": "hi", "session_id": "s"})).await.expect_problem(500);
    let events = app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await.events();
    assert_eq!(events.last().unwrap().name, "RunError");
    assert!(events.iter().all(|event| event.name != "RunCompleted"));
    app.shut_down().await;
    let runs: Vec<(String, Option<String>)> =
        sqlx::query_as("select status::text, error ->> 'type' from run_records order by seq")
            .fetch_all(app.db())
            .await
            .unwrap();
    assert_eq!(runs, vec![("ERROR".to_owned(), Some("not_saved".to_owned())); 2]);
    let answers: i64 =
        sqlx::query_scalar("select count(*) from messages where role = 'assistant'").fetch_one(app.db()).await.unwrap();
    assert_eq!(answers, 0, "nothing of the settling is left");
}

#[tokio::test]
async fn state_of_a_run_is_a_patch_on_the_current_row() {
    let app = TestApp::start().await;
    app.run(json!({"message": "1", "session_id": "s", "session_state": {"a": 1, "deep": {"x": 1}}})).await.expect(200);
    let run = app.run(json!({"message": "2", "session_id": "s", "session_state": {"a": null, "deep": {"y": 2}}})).await;
    assert_eq!(run.expect(200)["session_state"], json!({"deep": {"x": 1, "y": 2}}));
    app.model.then(status(500, "down"));
    app.run(json!({"message": "3", "session_id": "s", "session_state": {"lost": true}})).await.expect_problem(502);
    let state = app.get("/sessions/s").await.expect(200)["session_state"].clone();
    assert_eq!(state, json!({"deep": {"x": 1, "y": 2}}), "a run that fails changes nothing");
}

#[tokio::test]
async fn concurrent_state_changes_are_all_kept() {
    let app = TestApp::start().await;
    let runs = (0..10).map(|number| {
        let state: Value = [(format!("key_{number}"), json!(number))].into_iter().collect();
        app.run(json!({"message": "hi", "session_id": "s", "session_state": state}))
    });
    for run in futures::future::join_all(runs).await {
        run.expect(200);
    }
    let state = app.get("/sessions/s").await.expect(200)["session_state"].clone();
    assert_eq!(state.as_object().unwrap().len(), 10, "{state}");
}

#[tokio::test]
async fn what_the_database_cannot_store_does_not_cost_the_answer() {
    let app = TestApp::start().await;
    app.model.then(reply("a\0b"));
    assert_eq!(app.say("s", "hi").await["content"], "a\u{fffd}b");
}

#[tokio::test]
async fn a_shutdown_lets_running_runs_settle() {
    let app = TestApp::start().await;
    app.model.otherwise(|_| crate::support::scripted_model::slow_pieces(Duration::from_millis(100), "one two"));
    let run = app.run(json!({"message": "hi", "session_id": "s"}));
    let (run, ()) = tokio::join!(run, async {
        while app.model.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        app.shut_down().await;
    });
    assert_eq!(run.expect(200)["content"], "one two");
}

#[tokio::test]
async fn a_run_longer_than_the_shutdown_grace_is_ended_and_says_so() {
    let app = TestApp::with(|settings| settings.server.shutdown_grace = Duration::from_millis(100)).await;
    app.model.then(hang());
    let run = app.run(json!({"message": "hi", "session_id": "s"}));
    let ((), _) = tokio::join!(
        async {
            while app.model.requests().is_empty() {
                tokio::task::yield_now().await;
            }
            app.shut_down().await;
        },
        tokio::time::timeout(Duration::from_secs(3), run)
    );
    let (status, kind): (String, String) =
        sqlx::query_as("select status::text, error ->> 'type' from run_records").fetch_one(app.db()).await.unwrap();
    assert_eq!((status.as_str(), kind.as_str()), ("ERROR", "interrupted"));
}

/// Others may end a run, as that of a process that they take for dead, while it waits for its session's row to settle.
#[tokio::test]
async fn a_run_that_others_end_while_it_settles_changes_nothing_of_its_session() {
    let app = TestApp::start().await;
    app.say("s", "one").await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("too late")));
    let ending = async {
        while app.model.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut others = colloquy::testing::database::begin(app.db()).await.unwrap();
        let row = "select to_jsonb(s) from sessions s where session_id = 's' for update";
        let before: Value = sqlx::query_scalar(row).fetch_one(&mut *others).await.unwrap();
        gate.open();
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(app.db()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        let end = "with ended as (delete from open_runs where session_id = 's' and seq = 2 returning session_id, seq)
                   insert into outcomes (session_id, seq, status, content, answer_index, answer_id)
                   select session_id, seq, 'ERROR', null, null, null from ended";
        sqlx::query(end).execute(&mut *others).await.unwrap();
        others.commit().await.unwrap();
        before
    };
    let (run, before) = tokio::join!(app.run(json!({"message": "two", "session_id": "s"})), ending);
    assert_ne!(run.json()["status"], "COMPLETED", "{}", run.text);
    let after: Value = sqlx::query_scalar("select to_jsonb(s) from sessions s where session_id = 's'")
        .fetch_one(app.db())
        .await
        .unwrap();
    assert_eq!(after, before);
}
