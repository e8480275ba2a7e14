//! Runs that nobody executes: they are found by looking for them, and end when somebody asks for it.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::{
    TestApp,
    scripted_model::{Gate, held, reply},
    test_database,
};

/// A process that nobody knows.
const NOBODY: &str = "'01a206c1-4b42-72a9-b242-a016793c2551'::uuid";

/// An app whose beats are so rare that nothing is found by looking during a test. The look at its start is over: it has
/// found a run that was left before.
async fn app_that_never_looks() -> TestApp {
    let settings = |settings: &mut colloquy::testing::config::Settings| {
        settings.runs.lease = Duration::from_hours(10);
        settings.webhooks.secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
        settings.webhooks.allow_private = true;
    };
    let database = test_database().await;
    let before = TestApp::on(database.clone(), settings).await;
    before.say("before", "first").await;
    before.shut_down().await;
    let mut connection = database.connect().await;
    sqlx::query("delete from processes").execute(&mut connection).await.unwrap();
    let left = insert_run(&mut connection, "before", NOBODY, false).await;
    let app = TestApp::on(database, settings).await;
    assert_eq!(ended(&app, &left).await["status"], "ERROR");
    app
}

async fn app_that_looks_often() -> TestApp {
    TestApp::with(|settings| settings.runs.lease = Duration::from_secs(2)).await
}

/// Gives the session a run under way that names `process`; answers the run's path.
async fn leave_a_run(app: &TestApp, session_id: &str, process: &str, background: bool) -> String {
    app.say(session_id, "first").await;
    insert_run(&mut app.db().acquire().await.unwrap(), session_id, process, background).await
}

async fn insert_run(connection: &mut PgConnection, session_id: &str, process: &str, background: bool) -> String {
    let statement = format!(
        "update sessions set last_seq = 2, active_seq = 2 where session_id = '{session_id}';
         insert into runs (session_id, seq, input) values ('{session_id}', 2, 'hi');
         insert into open_runs (session_id, seq, run_id, status, process_id, background, attempts, max_attempts, request)
         select session_id, seq, run_id, 'RUNNING', {process}, {background}, 1, case when {background} then 3 else 1 end,
                case when {background} then
                    '{{\"delivery\": {{\"background\": true, \"webhook_url\": \"http://127.0.0.1:9/\"}}}}'::jsonb
                end
         from runs where session_id = '{session_id}' and seq = 2"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.unwrap();
    let run_id: uuid::Uuid = sqlx::query_scalar("select run_id from runs where session_id = $1 and seq = 2")
        .bind(session_id)
        .fetch_one(connection)
        .await
        .unwrap();
    format!("/agents/assistant/runs/{run_id}")
}

async fn ended(app: &TestApp, path: &str) -> Value {
    let polling = async {
        loop {
            let run = app.get(path).await.expect(200);
            if !["PENDING", "RUNNING"].contains(&run["status"].as_str().unwrap()) {
                return run;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.expect("the run ends")
}

#[tokio::test]
async fn a_cancel_ends_a_run_whose_process_does_not_live_and_then_it_can_be_deleted() {
    let app = app_that_never_looks().await;
    for (session, background) in [("s", false), ("t", true)] {
        let path = leave_a_run(&app, session, NOBODY, background).await;
        let run_id = path.rsplit('/').next().unwrap();
        app.delete(&format!("/sessions/{session}/runs/{run_id}")).await.expect_problem(409);
        app.post(&format!("{path}/cancel"), json!({})).await.expect(200);
        let run = app.get(&path).await.expect(200);
        assert_eq!((&run["status"], &run["error"]["type"]), (&json!("CANCELLED"), &json!("cancelled")), "{run}");
        app.delete(&format!("/sessions/{session}/runs/{run_id}")).await.expect(204);
        assert_eq!(app.say(session, "next").await["seq"], 3);
    }
    let jobs = app.get("/jobs").await.expect(200);
    assert_eq!(jobs["data"].as_array().unwrap().len(), 1, "{jobs}");
    assert_eq!(jobs["data"][0]["kind"], "deliver_webhook");
}

#[tokio::test]
async fn an_expired_process_that_is_not_buried_yet_does_not_hold_up_a_cancel() {
    let app = app_that_never_looks().await;
    app.execute(
        "insert into processes (process_id, expires_at, started_at)
         values ('01a206c1-4b42-72a9-b242-a016793c2551', now() - interval '1 s', now())",
    )
    .await;
    let path = leave_a_run(&app, "s", NOBODY, false).await;
    app.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(app.get(&path).await.expect(200)["status"], "CANCELLED");
}

#[tokio::test]
async fn an_interrupt_makes_way_where_the_process_does_not_live() {
    let app = app_that_never_looks().await;
    let path = leave_a_run(&app, "s", NOBODY, false).await;
    let next = app.run(json!({"message": "next", "session_id": "s", "on_busy": "interrupt"})).await.expect(200);
    assert_eq!((&next["status"], &next["seq"]), (&json!("COMPLETED"), &json!(3)));
    assert_eq!(app.get(&path).await.expect(200)["status"], "CANCELLED");
}

#[tokio::test]
async fn a_run_that_names_a_process_without_a_row_is_found_by_looking() {
    let app = app_that_looks_often().await;
    let path = leave_a_run(&app, "s", NOBODY, false).await;
    assert_eq!(ended(&app, &path).await["error"]["type"], "interrupted");
    assert_eq!(app.say("s", "next").await["seq"], 3);
    let path = leave_a_run(&app, "t", NOBODY, true).await;
    assert_eq!(ended(&app, &path).await["status"], "COMPLETED");
}

/// As when the connection breaks after the database has accepted or handed out a run, and before this process hears it.
#[tokio::test]
async fn a_run_of_a_living_process_that_does_not_know_it_is_found_by_looking() {
    let app = app_that_looks_often().await;
    let this = "(select process_id from processes)";
    let path = leave_a_run(&app, "s", this, false).await;
    assert_eq!(ended(&app, &path).await["error"]["type"], "interrupted");
    assert_eq!(app.say("s", "next").await["seq"], 3);
    let path = leave_a_run(&app, "t", this, true).await;
    assert_eq!(ended(&app, &path).await["status"], "COMPLETED");
}

#[tokio::test]
async fn looking_leaves_runs_alone_that_are_executed() {
    let app = app_that_looks_often().await;
    let gate = Gate::closed();
    app.model.otherwise({
        let gate = gate.clone();
        move |_| held(&gate, reply("at last"))
    });
    let inline = app.run(json!({"message": "inline", "session_id": "s"}));
    let beats = async {
        app.run(json!({"message": "hi", "session_id": "t", "background": true})).await.expect(202);
        let mut last = None;
        for _ in 0..6 {
            loop {
                let beat: chrono::DateTime<chrono::Utc> =
                    sqlx::query_scalar("select expires_at from processes").fetch_one(app.db()).await.unwrap();
                if last.replace(beat) != Some(beat) {
                    break;
                }
            }
        }
        gate.open();
    };
    let (inline, ()) = tokio::join!(inline, beats);
    assert_eq!(inline.expect(200)["content"], "at last");
    let run = app.get("/sessions/t/runs").await.expect(200)[0]["run_id"].as_str().unwrap().to_owned();
    let run = ended(&app, &format!("/agents/assistant/runs/{run}")).await;
    assert_eq!(run["content"], "at last", "{run}");
    assert_eq!(app.model.requests().len(), 2);
}

/// Every node of a plan: what it does, and on which table.
fn nodes(plan: &Value) -> Vec<(String, String)> {
    let text = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
    let children = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [(text("Node Type"), text("Relation Name"))].into_iter().chain(children).collect()
}

#[tokio::test]
async fn looking_reads_the_few_runs_that_a_process_holds_by_an_index() {
    let app = app_that_never_looks().await.without_decoy().await;
    app.execute(
        "insert into sessions (session_id, last_seq) select 's-' || n, 10 from generate_series(1, 3000) n;
         insert into runs (session_id, seq)
         select session_id, seq from sessions, generate_series(1, last_seq) seq where session_id like 's-%';
         insert into outcomes (session_id, seq) select session_id, seq from runs where seq < 9 and session_id like 's-%';
         insert into open_runs (session_id, seq, run_id, status, process_id, background)
         select session_id, seq, run_id, 'PENDING'::run_status, case when session_id like '%7' then mint_id() end, true
         from runs where seq = 9
         union all
         select session_id, seq, run_id, 'RUNNING'::run_status, (select process_id from processes), false
         from runs where seq = 10 and session_id like '%00'",
    )
    .await;
    app.execute("vacuum (analyze)").await;
    let statement =
        format!("explain (analyze, format json) {}", include_str!("../../../src/processes/store/orphans.sql"));
    let (plan,): (Value,) =
        sqlx::query_as(AssertSqlSafe(statement)).bind(uuid::Uuid::now_v7()).fetch_one(&app.app.db).await.unwrap();
    let nodes = nodes(&plan[0]["Plan"]);
    assert!(nodes.iter().any(|(_, table)| table == "open_runs"), "{nodes:?}");
    let large = ["sessions", "runs", "outcomes"];
    assert!(!nodes.iter().any(|(kind, table)| kind == "Seq Scan" && large.contains(&table.as_str())), "{nodes:?}");
}

/// A process that others have buried: it accepts nothing under the name that it had.
#[tokio::test]
async fn a_buried_process_signs_on_under_a_new_name_before_it_accepts() {
    let app = app_that_never_looks().await;
    let names = async || {
        sqlx::query_as::<_, (uuid::Uuid,)>("select process_id from processes").fetch_all(app.db()).await.unwrap()
    };
    let before = names().await;
    app.execute("delete from processes").await;
    let gate = Gate::closed();
    app.model.otherwise({
        let gate = gate.clone();
        move |_| held(&gate, reply("Hello!"))
    });
    let said = async |session: &'static str| app.say(session, "hi").await;
    let accepted = async {
        let named = "select count(*) from open_runs where process_id in (select process_id from processes)";
        while sqlx::query_scalar::<_, i64>(named).fetch_one(app.db()).await.unwrap() < 3 {}
        gate.open();
    };
    let accepted = async { tokio::time::timeout(Duration::from_secs(20), accepted).await.expect("under the new name") };
    let (one, two, three, ()) = tokio::join!(said("one"), said("two"), said("three"), accepted);
    assert!([one, two, three].iter().all(|run| run["seq"] == 1));
    let after = names().await;
    assert_eq!(after.len(), 1);
    assert_ne!(before, after);
    // With a key, too, the request is carried out once.
    app.execute("delete from processes").await;
    let keyed = || app.request(reqwest::Method::POST, "/agents/assistant/runs").header("idempotency-key", "k");
    let body = json!({"message": "keyed", "session_id": "four"});
    let first = app.send(keyed().json(&body)).await.expect(200);
    let again = app.send(keyed().json(&body)).await.expect(200);
    assert_eq!(first["run_id"], again["run_id"]);
    // And a run of the background, which another process could take.
    app.execute("delete from processes").await;
    let run = app.run(json!({"message": "hi", "session_id": "five", "background": true})).await.expect(202);
    let path = format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap());
    assert_eq!(ended(&app, &path).await["status"], "COMPLETED");
}

#[tokio::test]
async fn what_is_left_of_a_run_whose_session_was_deleted_is_removed() {
    let app = app_that_looks_often().await;
    leave_a_run(&app, "s", "(select process_id from processes)", false).await;
    app.delete("/sessions/s").await.expect(204);
    let left: i64 = sqlx::query_scalar("select count(*) from open_runs").fetch_one(app.db()).await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(app.say("s", "anew").await["seq"], 1);
}
