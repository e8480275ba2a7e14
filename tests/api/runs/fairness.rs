//! Background runs of many users: everybody gets a share, whoever has how many waiting.

use std::time::Duration;

use colloquy::testing::{model::ProcessId, processes::store};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, postgres::PgPoolOptions};

use crate::support::{
    TestApp,
    scripted_model::{Gate, echo, held},
};

/// As if `user` had asked for so many background runs, each on a session of its own.
async fn queue(app: &TestApp, user: &str, count: u32) {
    let statement = format!(
        r#"insert into sessions (session_id, user_id, last_seq, active_seq)
         select '{user}-' || n, '{user}', 1, 1 from generate_series(1, {count}) n;
         insert into runs (session_id, seq, user_id, is_shared)
         select session_id, 1, '{user}', false from sessions where session_id like '{user}-%';
         insert into open_runs (session_id, seq, run_id, status, background, max_attempts, request, share)
         select session_id, 1, run_id, 'PENDING', true, 3, '{{"delivery": {{"background": true}}}}', '{user}'
         from runs where session_id like '{user}-%'"#
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(app.db()).await.unwrap();
}

async fn living(db: &sqlx::PgPool) -> ProcessId {
    let process = ProcessId::mint();
    store::enter(db, process, Duration::from_mins(10)).await.unwrap();
    process
}

async fn count(app: &TestApp, condition: &str) -> i64 {
    let statement = format!("select count(*) from run_records where {condition}");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(app.db()).await.unwrap()
}

async fn start(app: &TestApp, body: Value) -> Value {
    let mut body = body;
    body["background"] = json!(true);
    app.run(body).await.expect(202)
}

#[tokio::test]
async fn thousands_of_runs_of_one_user_do_not_hold_up_another_users() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 1).await;
    let gate = Gate::closed();
    app.model.then(held(&gate, echo(&json!({}))));
    start(&app, json!({"message": "first", "user_id": "flood"})).await;
    while app.model.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    queue(&app, "flood", 2_000).await;
    for user in ["alice", "zoe"] {
        start(&app, json!({"message": "Hi", "user_id": user})).await;
    }
    start(&app, json!({"message": "Hi"})).await;
    gate.open();
    let others = "user_id is distinct from 'flood' and status = 'COMPLETED'";
    let served = async {
        while count(&app, others).await < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served).await.expect("everybody is served");
    let begun_before = count(
        &app,
        "user_id = 'flood' and finished_at < (select max(finished_at) from run_records where user_id is distinct from 'flood')",
    )
    .await;
    assert!(begun_before <= 3, "{begun_before} of the flood's runs came before three others");
}

#[tokio::test]
async fn taking_reads_a_few_rows_of_a_long_queue() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 0).await.without_decoy().await;
    queue(&app, "flood", 20_000).await;
    queue(&app, "alice", 2).await;
    // What waits behind others of its session is not looked at either.
    app.execute(
        "insert into runs (session_id, seq, user_id, is_shared)
         select 'alice-1', n, 'alice', false from generate_series(2, 5000) n;
         insert into open_runs (session_id, seq, run_id, status, background, request, share, ready)
         select session_id, seq, run_id, 'PENDING', true, '{}', 'alice', false from runs where session_id = 'alice-1' and seq > 1",
    )
    .await;
    app.execute("vacuum (analyze)").await;
    let options = app.app.db.connect_options().as_ref().clone();
    let db = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let read = async || -> i64 {
        sqlx::query("select pg_stat_force_next_flush()").execute(&db).await.unwrap();
        let read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
                    where relname in ('open_runs', 'sessions', 'runs')";
        sqlx::query_scalar(read).fetch_one(&db).await.unwrap()
    };
    let (process, mut served) = (living(&db).await, store::Served::default());
    for at_most in [1, 16] {
        let before = read().await;
        let taken = store::take(&db, process, at_most, &mut served).await.unwrap();
        assert_eq!(i64::try_from(taken.len()).unwrap(), at_most);
        let rows = read().await - before;
        assert!(rows < 1_000, "{rows} rows were read to take {at_most} of 25,000");
    }
}

#[tokio::test]
async fn users_are_served_in_turn() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 0).await;
    for (user, count) in [("a", 5), ("b", 2), ("c", 3)] {
        queue(&app, user, count).await;
    }
    let (process, mut served, mut order) = (living(&app.app.db).await, store::Served::default(), String::new());
    for at_most in [1, 1, 2, 3, 16] {
        let taken = store::take(&app.app.db, process, at_most, &mut served).await.unwrap();
        order.extend(taken.iter().map(|run| run.opening.user_id.as_ref().unwrap().as_str()));
        order.push(' ');
    }
    assert_eq!(order, "a b ca bca caa ", "{order}");
}

#[tokio::test]
async fn one_user_may_queue_so_many_runs_and_others_still_theirs() {
    let app = TestApp::with(|settings| {
        settings.runs.background_concurrency = 0;
        settings.runs.max_queued_per_user = 2;
    })
    .await;
    for user in [json!("alice"), json!("bob"), json!(null)] {
        for _ in 0..2 {
            start(&app, json!({"message": "Hi", "user_id": user, "session_id": format!("s-{user}")})).await;
        }
        let refused = app.run(json!({"message": "Hi", "user_id": user, "background": true})).await;
        assert_eq!(refused.headers["retry-after"], "10");
        let problem = refused.expect_problem(429);
        let remedy = if user.is_null() { "give runs the user_id" } else { "wait until some have ended" };
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(remedy) && detail.contains("runs.max_queued_per_user"), "{problem}");
    }
    assert_eq!(count(&app, "true").await, 6);
}

#[tokio::test]
async fn a_run_that_waited_behind_another_of_its_session_is_taken_in_its_turn() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 1).await;
    let gate = Gate::closed();
    app.model.then(held(&gate, echo(&json!({}))));
    for _ in 0..3 {
        start(&app, json!({"message": "Hi", "session_id": "s", "user_id": "alice"})).await;
    }
    let ready = "select array_agg(ready order by seq) from open_runs";
    let ready: Vec<bool> = sqlx::query_scalar(ready).fetch_one(app.db()).await.unwrap();
    assert_eq!(ready, [true, false, false]);
    gate.open();
    let served = async {
        while count(&app, "status = 'COMPLETED'").await < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served).await.expect("all are carried out");
}
