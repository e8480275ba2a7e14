//! Background runs that cannot be begun: not now, or not by this process.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::{
    TestApp,
    scripted_model::{Gate, held, reply},
    test_database,
};

fn settings(settings: &mut colloquy::testing::config::Settings) {
    settings.runs.lease = Duration::from_secs(2);
    settings.runs.background_concurrency = 1;
    settings.database.acquire_timeout = Duration::from_millis(300);
    settings.webhooks.secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
    settings.webhooks.allow_private = true;
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

async fn count(app: &TestApp, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap()
}

/// Waits until this process has put a run back that it cannot execute.
async fn until_declined(app: &TestApp) {
    let declined = "select count(*) from open_runs where process_id is null and cardinality(declined_by) = 1";
    let waiting = async {
        while count(app, declined).await != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
        let rows = "select json_build_array((select json_agg(r) from (select session_id, seq, status, error from run_records) r),
                                            (select json_agg(q) from open_runs q), (select json_agg(p) from processes p))";
        let rows: Value = sqlx::query_scalar(rows).fetch_one(app.db()).await.unwrap();
        panic!("no run was declined: {rows}");
    }
}

async fn start(app: &TestApp, session_id: &str) -> String {
    let body =
        json!({"message": "hi", "session_id": session_id, "background": true, "webhook_url": "http://127.0.0.1:9/"});
    let accepted = app.run(body).await.expect(202);
    format!("/agents/assistant/runs/{}", accepted["run_id"].as_str().unwrap())
}

async fn ended(app: &TestApp, path: &str) -> Value {
    let mut run = Value::Null;
    until("the run has ended", async || {
        run = app.get(path).await.expect(200);
        !["PENDING", "RUNNING"].contains(&run["status"].as_str().unwrap())
    })
    .await;
    run
}

/// How often the webhook of a run is to be told.
async fn webhooks_of(app: &TestApp, path: &str) -> usize {
    let jobs = app.get("/jobs").await.expect(200);
    let run_id = path.rsplit('/').next().unwrap();
    let jobs = jobs["data"].as_array().unwrap().iter();
    jobs.filter(|job| job["kind"] == "deliver_webhook" && job["about"] == run_id).count()
}

/// Accepts a run on `session` that has to wait, changes what was stored of its request, and lets it be taken.
async fn with_a_stored_request(app: &TestApp, session: &str, change: &str) -> String {
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("first")));
    let first = start(app, &format!("before-{session}")).await;
    let path = start(app, session).await;
    let statement = format!("update open_runs set request = {change} where session_id = '{session}'");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(app.db()).await.unwrap();
    gate.open();
    assert_eq!(ended(app, &first).await["status"], "COMPLETED");
    path
}

const OF_NEWER_BUILDS: [&str; 7] = [
    // A newer form, as its build says.
    "jsonb_set(request, '{needs}', '1000000')",
    // Another form of something known.
    r#"jsonb_set(request, '{overrides,num_history_runs}', '"all"')"#,
    r#"jsonb_set(request, '{continuation}', '{"kind": "rewind"}')"#,
    // Another form of it all.
    "jsonb_build_array(2, request)",
    // Nor can it be read where the end is to be told.
    r#"jsonb_set(request, '{delivery}', '"by mail"')"#,
    r#"jsonb_set(request, '{delivery,webhook_url}', '{"to": "http://127.0.0.1:9/"}')"#,
    "null",
];

/// What a newer build has added, and does not insist on.
#[tokio::test]
async fn a_request_with_fields_that_are_not_known_here_is_carried_out() {
    let app = TestApp::with(settings).await;
    let change = r#"request || '{"colour": "red"}' || jsonb_build_object('overrides', '{"shape": "round"}'::jsonb)"#;
    let path = with_a_stored_request(&app, "s", change).await;
    let run = ended(&app, &path).await;
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("Hello! You said: hi")), "{run}");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_left_to_others_and_holds_nobody_up() {
    for change in OF_NEWER_BUILDS {
        let database = test_database().await;
        let again = database.clone();
        let app = TestApp::on(database, |all| {
            settings(all);
            // A process that was taken for dead tries again under its new name.
            all.runs.lease = Duration::from_hours(1);
        })
        .await;
        let path = with_a_stored_request(&app, "s", change).await;
        let other = start(&app, "t").await;
        assert_eq!(ended(&app, &other).await["status"], "COMPLETED", "{change}");
        until_declined(&app).await;
        let run = app.get(&path).await.expect(200);
        assert_eq!(run["status"], "PENDING", "{change}");
        // Whoever can read it takes it at once: here, as if it were that newer build, by what it could read.
        app.execute(r#"update open_runs set request = '{"delivery": {"background": true}}'"#).await;
        let newer = TestApp::on(again, settings).await;
        let run = ended(&newer, &path).await;
        assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("Hello! You said: hi")), "{change}");
        assert!(app.model.requests().len() == 2 && newer.model.requests().len() == 1, "{change}");
    }
}

#[tokio::test]
async fn a_request_that_nobody_could_read_ends_with_its_reason_and_its_webhook_is_told() {
    let webhooks = [1, 1, 1, 1, 0, 0, 0];
    for (change, webhooks) in OF_NEWER_BUILDS.into_iter().zip(webhooks) {
        let app = TestApp::with(settings).await;
        let path = with_a_stored_request(&app, "s", change).await;
        until_declined(&app).await;
        app.execute("update open_runs set declined_at = declined_at - interval '1 day'").await;
        let run = ended(&app, &path).await;
        assert_eq!(run["status"], "ERROR", "{change}");
        assert!(run["error"]["message"].as_str().unwrap().contains("newer version"), "{run}");
        assert_eq!(webhooks_of(&app, &path).await, webhooks, "{change}");
        assert_eq!(app.say("s", "next").await["seq"], 2);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_can_be_cancelled_and_its_webhook_is_told() {
    let app = TestApp::with(settings).await;
    let path = with_a_stored_request(&app, "s", OF_NEWER_BUILDS[0]).await;
    until_declined(&app).await;
    app.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(app.get(&path).await.expect(200)["status"], "CANCELLED");
    assert_eq!(webhooks_of(&app, &path).await, 1);
    assert_eq!(app.say("s", "next").await["seq"], 2);
}

/// The agent may be declared in the settings of another process.
#[tokio::test]
async fn a_run_of_an_agent_that_is_not_declared_here_is_left_to_others() {
    let app = TestApp::with(settings).await;
    let path = with_a_stored_request(&app, "s", "request").await;
    assert_eq!(ended(&app, &path).await["status"], "COMPLETED");
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("first")));
    let first = start(&app, "before").await;
    start(&app, "s").await;
    app.execute("update runs set component_id = 'newer' where session_id = 's' and seq = 2").await;
    gate.open();
    ended(&app, &first).await;
    until_declined(&app).await;
    app.execute("update open_runs set declined_at = declined_at - interval '1 day'").await;
    until("it has ended", async || count(&app, "select count(*) from outcomes where status = 'ERROR'").await == 1)
        .await;
    let error: Value =
        sqlx::query_scalar("select error from outcomes where seq = 2").fetch_one(app.db()).await.unwrap();
    assert!(error["message"].as_str().unwrap().contains("no agent 'newer'"), "{error}");
    assert_eq!(app.say("s", "next").await["seq"], 3);
}

/// Ends the connections of all statements that wait for a lock, as a database that restarts does.
async fn cut_off_what_waits(connection: &mut PgConnection) {
    let mut cut = false;
    while !cut {
        cut = sqlx::query_scalar(
            "select coalesce(bool_or(pg_terminate_backend(pid)), false) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_run_whose_beginning_fails_for_a_moment_is_begun_again() {
    // What beginning reads: before and after it is known what was asked for.
    for table in ["run_events", "summaries"] {
        let database = test_database().await;
        let mut holder = database.connect().await;
        let app = TestApp::on(database, |all| {
            settings(all);
            all.agents[0].enable_session_summaries = true;
        })
        .await;
        app.say("s", "first").await;
        let gate = Gate::closed();
        app.model.then(held(&gate, reply("first")));
        start(&app, "before").await;
        let path = start(&app, "s").await;
        until("the model is called", async || app.model.requests().len() == 2).await;
        let locking = format!("begin; lock table {table}");
        sqlx::raw_sql(AssertSqlSafe(locking)).execute(&mut holder).await.unwrap();
        gate.open();
        cut_off_what_waits(&mut holder).await;
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
        let run = ended(&app, &path).await;
        assert_eq!(run["content"], "Hello! You said: hi", "{table}: {run}");
        assert_eq!(webhooks_of(&app, &path).await, 1);
        assert_eq!(app.say("s", "next").await["seq"], 3);
    }
}

#[tokio::test]
async fn a_run_that_is_begun_while_the_pool_is_exhausted_is_begun_again() {
    let database = test_database().await;
    let mut holder = database.connect().await;
    let app = TestApp::on(database, |all| {
        settings(all);
        all.database.max_connections = 1;
        all.runs.lease = Duration::from_secs(5);
    })
    .await;
    app.say("s", "first").await;
    sqlx::raw_sql("begin; select from sessions where session_id = 's' for update").execute(&mut holder).await.unwrap();
    let starting = start(&app, "s");
    let exhausting = async {
        let blocked =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        until("the run is being accepted", async || {
            sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut holder).await.unwrap() == 1
        })
        .await;
        // Whoever asks first is served first: this test, and not the run that begins.
        let next = app.app.db.acquire();
        let release = sqlx::raw_sql("rollback").execute(&mut holder);
        let (connection, released) = tokio::join!(next, release);
        released.unwrap();
        connection.unwrap()
    };
    let (path, connection) = tokio::join!(starting, exhausting);
    let open = "select count(*) from open_runs where seq = 2 and status = 'RUNNING'";
    let mut tries = 0;
    // Long enough for the run's own statements to wait in vain.
    while tries < 2 {
        assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(&mut holder).await.unwrap(), 1);
        tries += usize::from(app.app.db.acquire().await.is_err());
    }
    drop(connection);
    let run = ended(&app, &path).await;
    assert_eq!(run["content"], "Hello! You said: hi", "{run}");
    assert_eq!(webhooks_of(&app, &path).await, 1);
    assert_eq!(app.say("s", "next").await["seq"], 3);
}

/// Whatever a run ends with, its webhook hears of it.
#[tokio::test]
async fn the_webhook_hears_of_a_run_that_could_not_be_begun_at_all() {
    let app = TestApp::with(settings).await;
    app.say("s", "first").await;
    // More than a session's state may hold, which was not so when it was accepted.
    let path = with_a_stored_request(
        &app,
        "s",
        "jsonb_set(request, '{session_state}', jsonb_build_object('a', repeat('x', 2000000)))",
    )
    .await;
    let run = ended(&app, &path).await;
    assert_eq!((&run["status"], &run["error"]["type"]), (&json!("ERROR"), &json!("state_too_large")), "{run}");
    assert_eq!(webhooks_of(&app, &path).await, 1);
}

/// A caller's own data is no place for a webhook, wherever the URL of a stored run is looked for.
#[tokio::test]
async fn a_url_in_the_state_is_no_webhook() {
    let app = TestApp::with(settings).await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("first")));
    let first = start(&app, "before").await;
    let url = "http://127.0.0.1:9/";
    let body = json!({
        "message": "hi", "session_id": "s", "background": true,
        "session_state": {"webhook_url": url, "delivery": {"webhook_url": url}}, "metadata": {"webhook_url": url},
    });
    let accepted = app.run(body).await.expect(202);
    let path = format!("/agents/assistant/runs/{}", accepted["run_id"].as_str().unwrap());
    app.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(app.get(&path).await.expect(200)["status"], "CANCELLED");
    assert_eq!(webhooks_of(&app, &path).await, 0);
    gate.open();
    assert_eq!(ended(&app, &first).await["status"], "COMPLETED");
}
