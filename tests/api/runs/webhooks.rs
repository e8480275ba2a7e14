//! Where the end of a run is told is a secret of whoever asked for it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{ScriptedModel, status},
    server::{self, Server},
    test_database,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const MARK: &str = "hunter2hunter2";

async fn app() -> TestApp {
    TestApp::with(|settings| {
        settings.webhooks.secret = Some(SECRET.to_owned().into());
        settings.webhooks.allow_private = true;
    })
    .await
}

async fn ended(app: &TestApp, url: &str) -> Value {
    let body = json!({"message": "hi", "session_id": "s", "background": true, "webhook_url": url});
    let accepted = app.run(body).await.expect(202);
    let path = format!("/agents/assistant/runs/{}", accepted["run_id"].as_str().unwrap());
    let polling = async {
        loop {
            let run = app.get(&path).await.expect(200);
            if run["status"] == "COMPLETED" {
                return run;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.expect("the run ends")
}

async fn stored(app: &TestApp) -> Option<String> {
    sqlx::query_scalar("select webhook_url from outcomes").fetch_one(app.db()).await.unwrap()
}

#[tokio::test]
async fn a_url_stands_with_its_run_until_it_has_been_told_and_nowhere_else() {
    let app = app().await;
    let listener = ScriptedModel::start().await;
    let url = format!("{}/{MARK}", listener.base_url());
    listener.then(status(500, "not now"));
    let run = ended(&app, &url).await;
    assert!(!run.to_string().contains(MARK));
    let payload: Value =
        sqlx::query_scalar("select payload from graphile_worker._private_jobs").fetch_one(app.db()).await.unwrap();
    assert_eq!(
        payload,
        json!({"kind": "deliver_webhook", "tenant_id": "default", "run_id": run["run_id"], "share": payload["share"]})
    );
    app.do_jobs().await;
    assert_eq!(stored(&app).await, Some(url));
    for path in ["/jobs", "/sessions/s", "/sessions/s/runs", "/sessions/s/export", "/sessions"] {
        let answer = app.get(path).await;
        assert!(answer.status == 200 && !answer.text.contains(MARK), "{path}: {answer:?}");
    }
    app.post("/sessions/s/fork", json!({"session_id": "copy"})).await.expect(201);
    let copied = "select count(*) from outcomes where session_id = 'copy' and webhook_url is null";
    assert_eq!(sqlx::query_scalar::<_, i64>(copied).fetch_one(app.db()).await.unwrap(), 1);
    app.delete("/sessions/copy").await.expect(204);
    app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    app.do_jobs().await;
    assert_eq!(listener.recorded().len(), 2);
    assert_eq!((stored(&app).await, app.count_jobs().await), (None, 0));
}

#[tokio::test]
async fn a_literal_address_is_looked_at_again_when_it_is_called() {
    let app = TestApp::with(|settings| settings.webhooks.secret = Some(SECRET.to_owned().into())).await;
    let listener = ScriptedModel::start().await;
    ended(&app, "https://example.com/").await;
    // As if it had been accepted by a build that knew fewer of them, or under other settings.
    sqlx::query("update outcomes set webhook_url = $1").bind(listener.base_url()).execute(app.db()).await.unwrap();
    app.do_jobs().await;
    let job = &app.get("/jobs").await.expect(200)["data"][0];
    assert!(job["last_error"].as_str().unwrap().contains("leads to a private address"), "{job}");
    assert!(listener.recorded().is_empty());
}

#[tokio::test]
async fn no_log_names_the_url_at_any_level() {
    let (database, listener) = (test_database().await, ScriptedModel::start().await);
    listener.then(status(500, "not now"));
    let mut command = server::command(&["serve"]);
    command
        .env("DATABASE_URL", &database.url)
        .env("RUST_LOG", "trace")
        .env("COLLOQUY_WEBHOOKS__SECRET", SECRET)
        .env("COLLOQUY_WEBHOOKS__ALLOW_PRIVATE", "true");
    let server = tokio::task::spawn_blocking(move || Server::start(command)).await.unwrap();
    // One that is refused, one that fails at first, and one that nobody listens to.
    let url = format!("{}/{MARK}?token={MARK}", listener.base_url());
    for url in [&url, "http://127.0.0.1:1/hunter2hunter2"] {
        let body = json!({"message": "hi", "background": true, "webhook_url": url});
        assert_eq!(server.run(body).await["status"], "PENDING");
    }
    let refused = json!({"message": "hi", "background": true, "webhook_url": format!("ftp://a/{MARK}")});
    assert_eq!(server.run(refused).await["status"], 422);
    let failed = async {
        loop {
            let jobs = server.get("/jobs").await.expect(200);
            let failed = jobs["data"].as_array().unwrap().iter().filter(|job| job["last_error"].is_string()).count();
            if failed == 1 && listener.recorded().len() >= 2 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), failed).await.expect("the jobs are tried");
    let log = server.kill_for_its_log();
    assert!(log.contains("deliver_webhook"), "the log tells of the job");
    let line = log.lines().find(|line| line.contains(MARK));
    assert!(line.is_none(), "{line:?}");
}
