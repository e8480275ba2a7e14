//! Names that a model finds.

use colloquy::testing::config::{ModelSettings, Provider};
use serde_json::{Value, json};

use crate::support::{TestApp, scripted_model::reply};

async fn titling() -> TestApp {
    TestApp::with_agent(|agent| agent.auto_title = true).await
}

async fn name(app: &TestApp) -> Value {
    app.get("/sessions/s").await.expect(200)["session_name"].clone()
}

#[tokio::test]
async fn the_first_message_names_a_session_at_once_and_the_model_after_the_run() {
    let app = titling().await;
    app.say("s", "Tell me about tea").await;
    assert_eq!(name(&app).await, "Tell me about tea");
    app.model.then(reply(r#"{"title": "\"All About Tea.\""}"#));
    app.do_jobs().await;
    assert_eq!(name(&app).await, "All About Tea");
    let shown = app.model.requests().last().unwrap()["messages"][1]["content"].as_str().unwrap().to_owned();
    assert!(shown.contains("Tell me about tea") && shown.contains("You said"), "{shown}");
    let calls = app.model.requests().len();
    app.say("s", "more").await;
    app.do_jobs().await;
    assert_eq!(app.model.requests().len(), calls + 1, "it is named once");
}

#[tokio::test]
async fn a_name_of_the_user_stands_whenever_it_comes() {
    let app = titling().await;
    app.say("s", "Tell me about tea").await;
    app.post("/sessions/s/rename", json!({"session_name": "Mine"})).await.expect(200);
    app.model.then(reply(r#"{"title": "Theirs"}"#));
    app.do_jobs().await;
    assert_eq!(name(&app).await, "Mine");
}

#[tokio::test]
async fn a_model_that_finds_no_title_leaves_the_one_that_there_is() {
    let app = titling().await;
    app.say("s", "Tell me about tea").await;
    app.model.otherwise(|_| reply(r#"{"title": "  "}"#));
    for _ in 0..3 {
        app.do_jobs().await;
        app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    }
    assert_eq!(name(&app).await, "Tell me about tea");
    let failed = app.get("/jobs?status=failed").await.expect(200);
    assert!(failed["data"][0]["last_error"].as_str().unwrap().contains("title is empty"), "{failed}");
}

#[tokio::test]
async fn agents_that_do_not_ask_for_titles_get_none_and_offline_ones_come_by_rule() {
    let app = TestApp::start().await;
    app.say("s", "Tell me about tea").await;
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    let app = TestApp::with(|settings| {
        settings.agents[0].auto_title = true;
        settings.models = [("offline".to_owned(), ModelSettings::new(Provider::Offline, "offline"))].into();
    })
    .await;
    app.say("s", "Hello, I would like to know everything about tea").await;
    app.do_jobs().await;
    assert_eq!(name(&app).await, "I would like to know everything");
}
