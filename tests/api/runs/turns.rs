//! One run at a time: waiting, refusing, interrupting.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{hang, reply, slow_pieces},
};

async fn runs_of(app: &TestApp, session_id: &str) -> Vec<Value> {
    let runs = app.get(&format!("/sessions/{session_id}/runs")).await.expect(200);
    runs.as_array().unwrap().clone()
}

/// Returns when the model has been asked `count` times.
async fn asked(app: &TestApp, count: usize) {
    while app.model.requests().len() < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn runs_of_a_session_wait_for_each_other_and_see_each_other() {
    let app = TestApp::with_agent(|agent| agent.num_history_runs = 100).await;
    let runs = (0..10).map(|number| app.run(json!({"message": format!("number {number}"), "session_id": "s"})));
    for run in futures::future::join_all(runs).await {
        assert_eq!(run.expect(200)["status"], "COMPLETED");
    }
    // Each prompt has all runs before it: two messages each, beside the system's and the user's.
    let sizes: Vec<_> =
        app.model.requests().iter().map(|request| request["messages"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, (0..10).map(|before| before * 2 + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_waiting_run_can_be_seen_and_then_it_is_its_turn() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(100), "one two three"));
    let first = app.run(json!({"message": "first", "session_id": "s"}));
    let second = async {
        asked(&app, 1).await;
        let second = app.run(json!({"message": "second", "session_id": "s"}));
        let look = async {
            loop {
                let runs = runs_of(&app, "s").await;
                if runs.len() == 2 {
                    return runs;
                }
            }
        };
        let (second, runs) = tokio::join!(second, look);
        assert_eq!((&runs[0]["status"], &runs[1]["status"]), (&json!("RUNNING"), &json!("PENDING")));
        second.expect(200)
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((&first.expect(200)["seq"], &second["seq"]), (&json!(1), &json!(2)));
    assert_eq!(second["content"], "Hello! You said: second");
}

#[tokio::test]
async fn a_busy_session_can_refuse() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(100), "one two three"));
    let first = app.run(json!({"message": "first", "session_id": "s"}));
    let refused = async {
        asked(&app, 1).await;
        app.run(json!({"message": "second", "session_id": "s", "on_busy": "reject"})).await.expect_problem(409)
    };
    let (first, refused) = tokio::join!(first, refused);
    assert_eq!(refused["run_id"], first.expect(200)["run_id"]);
    assert_eq!(runs_of(&app, "s").await.len(), 1);
    app.run(json!({"message": "third", "session_id": "s", "on_busy": "reject"})).await.expect(200);
}

#[tokio::test]
async fn a_run_can_interrupt_the_one_before_it() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(30), &"word ".repeat(1000)));
    let first = app.run(json!({"message": "first", "session_id": "s", "stream": true}));
    let second = async {
        asked(&app, 1).await;
        app.run(json!({"message": "second", "session_id": "s", "on_busy": "interrupt"})).await.expect(200)
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.events().last().unwrap().name, "RunCancelled");
    assert_eq!(second["content"], "Hello! You said: second");
    let runs = runs_of(&app, "s").await;
    assert_eq!((&runs[0]["status"], &runs[1]["status"]), (&json!("CANCELLED"), &json!("COMPLETED")));
}

#[tokio::test]
async fn a_request_gives_up_waiting_and_its_run_is_cancelled() {
    let app = TestApp::with(|settings| settings.runs.queue_timeout = Duration::from_millis(100)).await;
    app.model.then(hang());
    let first = app.run(json!({"message": "first", "session_id": "s"}));
    let second = async {
        asked(&app, 1).await;
        let answer = app.run(json!({"message": "second", "session_id": "s"})).await;
        assert!(answer.headers.contains_key("retry-after"));
        let problem = answer.expect_problem(503);
        let run_id = runs_of(&app, "s").await[0]["run_id"].as_str().unwrap().to_owned();
        app.post(&format!("/agents/assistant/runs/{run_id}/cancel"), json!({})).await.expect(200);
        problem
    };
    let (first, problem) = tokio::join!(first, second);
    assert_eq!(first.expect(200)["status"], "CANCELLED");
    assert_eq!(problem["error_type"], "queue_timeout");
    let runs = runs_of(&app, "s").await;
    assert_eq!((&runs[1]["status"], &runs[1]["error"]["type"]), (&json!("CANCELLED"), &json!("queue_timeout")));
    assert_eq!(app.say("s", "third").await["seq"], 3);
}

#[tokio::test]
async fn too_many_runs_are_refused_with_a_time_to_come_back() {
    let app = TestApp::with(|settings| {
        settings.runs.max_waiting_per_session = 1;
        settings.runs.max_per_user = 3;
        settings.runs.max_in_process = 4;
    })
    .await;
    let (held, release) = tokio::sync::watch::channel(false);
    app.model.otherwise(|_| slow_pieces(Duration::from_millis(400), "a b"));
    let ask = |session: &str, user: &str| {
        app.run(json!({"message": "hi", "session_id": format!("{user}-{session}"), "user_id": user}))
    };
    let busy = async {
        let answers = tokio::join!(ask("1", "a"), ask("1", "a"), ask("2", "a"), ask("1", "b"));
        held.send(true).unwrap();
        [answers.0, answers.1, answers.2, answers.3]
    };
    let refused = async {
        loop {
            let count: i64 = sqlx::query_scalar("select count(*) from runs").fetch_one(app.db()).await.unwrap();
            if count == 4 {
                break;
            }
        }
        let of_process = ask("9", "c").await;
        assert!(of_process.headers.contains_key("retry-after"));
        of_process.expect_problem(503);
        assert!(!*release.borrow());
    };
    let (answers, ()) = tokio::join!(busy, refused);
    for answer in answers {
        assert_eq!(answer.expect(200)["status"], "COMPLETED");
    }

    let of_session = async {
        asked(&app, 5).await;
        let (one, two) = tokio::join!(ask("1", "b"), ask("1", "b"));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 429]);
    };
    let (first, ()) = tokio::join!(ask("1", "b"), of_session);
    first.expect(200);
}

#[tokio::test]
async fn a_run_that_takes_too_long_ends_and_keeps_what_was_said() {
    let app = TestApp::with(|settings| settings.runs.deadline = Duration::from_millis(300)).await;
    app.model.then(slow_pieces(Duration::from_millis(50), &"word ".repeat(100)));
    let events = app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await.events();
    assert_eq!(events.last().unwrap().data["error_type"], "deadline_exceeded");
    let run = &runs_of(&app, "s").await[0];
    assert_eq!(run["status"], "ERROR");
    assert!(run["content"].as_str().unwrap().starts_with("word word"), "{run}");
    app.model.then(hang());
    app.run(json!({"message": "hi", "session_id": "t"})).await.expect_problem(504);
}

#[tokio::test]
async fn an_answer_that_is_too_long_ends_its_run() {
    let app = TestApp::with(|settings| settings.runs.max_answer_bytes = 1000).await;
    for stream in [false, true] {
        app.model.then(reply(&"ünd ".repeat(1000)));
        app.run(json!({"message": "hi", "session_id": format!("{stream}"), "stream": stream})).await;
        let run = &runs_of(&app, &stream.to_string()).await[0];
        assert_eq!(run["error"]["type"], "answer_too_long", "{run}");
        let kept = run["content"].as_str().unwrap().len();
        assert!((900..=1000).contains(&kept), "{kept}");
    }
}
