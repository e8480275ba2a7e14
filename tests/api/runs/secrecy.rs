//! What callers hear of a provider's failure: that there was one and what to do, and nothing of the provider's own.

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Behaviour, ScriptedModel, status},
    server::{self, Server},
    test_database,
};

/// What the provider says; none of it is for callers.
const WORDS: &str = "Quota of project orange-penguin used up";
const ADDRESS: &str = "http://gateway.internal.example:8443/v1";
const KEY: &str = "sk-live-0123456789abcdef";

fn failure() -> Behaviour {
    status(400, &format!("{WORDS}; see {ADDRESS} (key {KEY})"))
}

fn assert_says_nothing(door: &str, app: &TestApp, said: &str) {
    let base = app.model.base_url();
    let host = base.trim_start_matches("http://").trim_end_matches("/v1");
    for secret in ["penguin", "internal.example", KEY, host, "Quota"] {
        assert!(!said.contains(secret), "{door}: {secret} in {said}");
    }
}

fn assert_is_of_use(said: &Value, run_id: &str) {
    let said = said.as_str().unwrap();
    for part in ["The model fast ", "Ask the operator", run_id] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

async fn failing() -> TestApp {
    let app = TestApp::with(|settings| {
        settings.webhooks.secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
        settings.webhooks.allow_private = true;
        settings.agents[0].enable_session_summaries = true;
        settings.agents[0].update_memory_on_run = true;
    })
    .await;
    app.model.otherwise(|_| failure());
    app
}

#[tokio::test]
async fn every_answer_about_a_failed_run_is_a_plain_sentence() {
    let app = failing().await;
    let message = json!({"message": "hi", "session_id": "s"});
    let problem = app.run(message.clone()).await.expect_problem(502);
    let run_id = problem["run_id"].as_str().unwrap();
    assert_is_of_use(&problem["detail"], run_id);
    assert_says_nothing("problem", &app, &problem.to_string());

    let mut streamed = message;
    streamed["stream"] = true.into();
    let events = app.run(streamed.clone()).await.events();
    let last = events.last().unwrap();
    assert_eq!(last.name, "RunError");
    assert_is_of_use(&last.data["content"], last.data["run_id"].as_str().unwrap());
    assert_says_nothing("stream", &app, &format!("{events:?}"));

    let form = [("message", "hi"), ("stream", "false"), ("session_id", "s")];
    let of_form = app.post_form("/agents/assistant/runs", &form).await.expect(200);
    assert_is_of_use(&of_form["content"], of_form["run_id"].as_str().unwrap());
    assert_says_nothing("form", &app, &of_form.to_string());

    for path in [
        format!("/agents/assistant/runs/{run_id}"),
        "/agents/assistant/runs?session_id=s".into(),
        "/sessions/s".into(),
        "/sessions/s/runs".into(),
        "/sessions/s/context?agent_id=assistant".into(),
        format!("/agents/assistant/runs/{run_id}/events"),
        "/sessions/s/export".into(),
    ] {
        let answer = app.get(&path).await;
        assert!(answer.status == 200 || answer.status == 204, "{path}: {}", answer.status);
        assert_says_nothing(&path, &app, &answer.text);
    }
}

#[tokio::test]
async fn what_is_not_for_callers_is_stored_beside_the_error() {
    let app = failing().await;
    app.run(json!({"message": "hi", "session_id": "s"})).await.expect_problem(502);
    let (message, detail): (String, String) =
        sqlx::query_as("select error->>'message', error->>'detail' from outcomes").fetch_one(app.db()).await.unwrap();
    assert_says_nothing("stored message", &app, &message);
    assert!(detail.contains(WORDS) && detail.contains("answered 400"), "{detail}");
}

#[tokio::test]
async fn a_webhook_says_no_more() {
    let app = failing().await;
    let listener = ScriptedModel::start().await;
    let url = format!("{}/hook", listener.base_url());
    let body = json!({"message": "hi", "session_id": "s", "background": true, "webhook_url": url});
    app.run(body).await.expect(202);
    while listener.recorded().is_empty() {
        app.do_jobs().await;
    }
    let told = &listener.recorded()[0].body;
    assert_eq!(told["type"], "run.failed");
    assert_is_of_use(&told["data"]["error"]["message"], told["data"]["run_id"].as_str().unwrap());
    assert_says_nothing("webhook", &app, &told.to_string());
}

#[tokio::test]
async fn jobs_and_summaries_say_no_more() {
    let app = failing().await;
    app.model.then(crate::support::scripted_model::reply("Hello."));
    let said = json!({"message": "I like pizza.", "session_id": "s", "user_id": "ann"});
    app.run(said).await.expect(200);
    let problem = app.post("/sessions/s/summarize", json!({})).await.expect_problem(502);
    assert_says_nothing("summarize", &app, &problem.to_string());
    for memory in ["The user likes tea.", "The user likes jam."] {
        app.post("/memories", json!({"memory": memory, "user_id": "ann"})).await.expect(200);
    }
    for (path, body) in [
        ("/optimize-memories", json!({"user_id": "ann"})),
        ("/memories/extract", json!({"text": "I like pizza.", "user_id": "ann"})),
    ] {
        let problem = app.post(path, body).await.expect_problem(502);
        assert!(problem["detail"].as_str().unwrap().contains("The model fast "), "{path}: {problem}");
        assert_says_nothing(path, &app, &problem.to_string());
    }
    app.do_jobs().await;
    let jobs = app.get("/jobs").await.expect(200);
    let told: Vec<&str> =
        jobs["data"].as_array().unwrap().iter().filter_map(|job| job["last_error"].as_str()).collect();
    assert!(!told.is_empty() && told.iter().all(|error| error.contains("The model fast ")), "{jobs}");
    assert_says_nothing("jobs", &app, &jobs.to_string());
}

#[tokio::test]
async fn the_log_has_the_providers_words_and_never_the_key() {
    let (database, model) = (test_database().await, ScriptedModel::start().await);
    model.otherwise(|_| failure());
    let home = tempfile::tempdir().unwrap();
    let settings = format!(
        "[models.m]\nprovider = \"openai\"\nid = \"m\"\nbase_url = \"{}\"\napi_key_env = \"MODEL_KEY\"\n",
        model.base_url()
    );
    std::fs::write(home.path().join("colloquy.toml"), settings).unwrap();
    let mut command = server::command(&["serve"]);
    command.current_dir(home.path()).env("DATABASE_URL", &database.url).env("MODEL_KEY", KEY);
    let server = Server::start(command);
    let problem = server.run(json!({"message": "hi", "session_id": "s"})).await;
    let run_id = problem["run_id"].as_str().unwrap();
    assert_eq!(model.recorded()[0].headers["authorization"], format!("Bearer {KEY}"));
    let log = server.kill_for_its_log();
    let line = log.lines().find(|line| line.contains(WORDS)).expect("the log has the provider's words");
    assert!(line.contains(run_id) && line.contains("[key]"), "{line}");
    assert!(!log.contains(KEY) && !problem.to_string().contains("penguin"), "{problem} {log}");
}
