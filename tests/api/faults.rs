//! A database that goes away and comes back.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    OwnPostgres, TestApp,
    scripted_model::{Behaviour, Gate, held, reply, slow_pieces},
};

async fn app_on(own: &OwnPostgres) -> TestApp {
    TestApp::on(own.database().await, |settings| settings.database.acquire_timeout = Duration::from_millis(500)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_requests_get_503_and_afterwards_they_work() {
    let mut own = OwnPostgres::new();
    let app = app_on(&own).await;
    app.say("s", "before").await;
    own.stop();
    for _ in 0..3 {
        let answer = app.run(json!({"message": "during", "session_id": "s"})).await;
        assert!(answer.headers.contains_key("retry-after"));
        answer.expect_problem(503);
    }
    app.get("/sessions").await.expect_problem(503);
    app.get("/ready").await.expect(503);
    app.get("/health").await.expect(200);
    own.start();
    let run = app.say("s", "after").await;
    assert_eq!(run["seq"], 2);
    app.get("/ready").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_moment_does_not_cost_the_answer() {
    let mut own = OwnPostgres::new();
    let app = app_on(&own).await;
    app.model.then(slow_pieces(Duration::from_millis(300), "worth waiting for"));
    let run = app.run(json!({"message": "hi", "session_id": "s"}));
    let restart = async {
        while app.model.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        own.stop();
        own.start();
    };
    let (run, ()) = tokio::join!(run, restart);
    assert_eq!(run.expect(200)["content"], "worth waiting for");
    let stored = app.get("/sessions/s/runs").await.expect(200);
    assert_eq!(stored[0]["status"], "COMPLETED");
    assert_eq!(stored[0]["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_settled_is_503_and_later_an_error() {
    let mut own = OwnPostgres::new();
    let app = app_on(&own).await;
    let (gone, wait) = std::sync::mpsc::channel::<Behaviour>();
    let wait = std::sync::Mutex::new(wait);
    app.model.otherwise(move |_| tokio::task::block_in_place(|| wait.lock().unwrap().recv().unwrap()));
    let run = app.run(json!({"message": "hi", "session_id": "s"}));
    let stop = async {
        while sqlx::query_scalar::<_, i64>("select count(*) from runs").fetch_one(app.db()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        own.stop();
        gone.send(reply("too late")).unwrap();
    };
    let (run, ()) = tokio::join!(run, stop);
    let problem = run.expect_problem(503);
    assert!(problem["run_id"].is_string());
    own.start();
    app.shut_down().await;
    let status: String = sqlx::query_scalar("select status::text from run_records").fetch_one(app.db()).await.unwrap();
    assert_eq!(status, "ERROR");
}

/// A client that goes away drops what its request was doing, at any moment.
#[tokio::test]
async fn a_transaction_that_is_dropped_while_it_begins_does_not_stay_open() {
    let app = TestApp::start().await;
    for polls in 1..40 {
        let mut beginning = Box::pin(colloquy::testing::database::begin(&app.app.db));
        for _ in 0..polls {
            if futures::poll!(&mut beginning).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let open = "select count(*) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and state like 'idle in transaction%'";
    let closing = async { while sqlx::query_scalar::<_, i64>(open).fetch_one(app.db()).await.unwrap() > 0 {} };
    tokio::time::timeout(Duration::from_secs(10), closing).await.expect("all transactions end");
}

/// As when PostgreSQL crashes: the acceptance is committed asynchronously, and goes with what was not flushed yet.
#[tokio::test]
async fn a_run_that_the_database_has_lost_is_503_and_no_cancel() {
    let app = TestApp::start().await;
    app.say("s", "before").await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("for nobody")));
    let run = app.run(json!({"message": "hi", "session_id": "s"}));
    let crash = async {
        while app.model.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        app.execute("delete from runs where seq = 2; update sessions set last_seq = 1, active_seq = null").await;
        gate.open();
    };
    let (run, ()) = tokio::join!(run, crash);
    let problem = run.expect_problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("send the message again"), "{problem}");
    assert_eq!(app.say("s", "hi").await["seq"], 2);
}
