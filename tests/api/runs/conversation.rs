//! What a conversation remembers, and what the model is sent of it.

use colloquy::testing::config::{ModelSettings, Provider};
use serde_json::{Value, json};

use crate::support::{TestApp, assert_short_and_long_cost_the_same, scripted_model::reply};

/// The roles and texts that the model was sent last.
fn last_prompt(app: &TestApp) -> Vec<(String, String)> {
    let requests = app.model.requests();
    let messages = requests.last().expect("the model was called")["messages"].as_array().expect("messages").clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

fn texts(prompt: &[(String, String)]) -> Vec<&str> {
    prompt.iter().filter(|(role, _)| role != "system").map(|(_, text)| text.as_str()).collect()
}

#[tokio::test]
async fn without_any_key_alice_is_remembered() {
    let app = TestApp::with(|settings| {
        settings.models = [("offline".to_owned(), ModelSettings::new(Provider::Offline, "offline"))].into();
    })
    .await;
    app.say("user_123_session", "Hi, my name is Alice").await;
    let run = app.say("user_123_session", "What's my name?").await;
    assert_eq!(run["content"], "Your name is Alice.");
    assert_eq!(run["model_provider"], "offline");
    let stranger = app.say("another_session", "What's my name?").await;
    assert!(!stranger["content"].as_str().unwrap().contains("Alice"), "{stranger}");
}

#[tokio::test]
async fn the_next_prompt_holds_what_was_said() {
    let app = TestApp::start().await;
    app.model.then(reply("Nice to meet you."));
    app.say("s", "I am Alice").await;
    app.say("s", "Who am I?").await;
    let prompt = last_prompt(&app);
    assert_eq!(prompt[0], ("system".to_owned(), "A helpful assistant.".to_owned()));
    assert_eq!(texts(&prompt), ["I am Alice", "Nice to meet you.", "Who am I?"]);
}

#[tokio::test]
async fn history_is_the_last_runs_and_can_be_chosen_per_run() {
    let app = TestApp::with_agent(|agent| agent.num_history_runs = 2).await;
    app.model.otherwise(|_| reply("ok"));
    for number in 1..=4 {
        app.say("s", &format!("message {number}")).await;
    }
    app.say("s", "last").await;
    assert_eq!(texts(&last_prompt(&app)), ["message 3", "ok", "message 4", "ok", "last"]);
    let run = app.run(json!({"message": "one", "session_id": "s", "num_history_runs": 1})).await.expect(200);
    assert_eq!(texts(&last_prompt(&app)), ["last", "ok", "one"]);
    let context = &run["context"];
    assert_eq!((&context["first_history_seq"], &context["history_runs"]), (&json!(5), &json!(1)));
    assert_eq!((&context["history_messages"], &context["window"]), (&json!(2), &json!("last_runs")));
    app.run(json!({"message": "none", "session_id": "s", "add_history_to_context": false})).await.expect(200);
    assert_eq!(texts(&last_prompt(&app)), ["none"]);
}

#[tokio::test]
async fn sessions_do_not_see_each_other() {
    let app = TestApp::start().await;
    app.say("a", "a secret").await;
    app.say("b", "hello").await;
    assert_eq!(texts(&last_prompt(&app)), ["hello"]);
}

#[tokio::test]
async fn between_runs_the_prompt_only_grows_at_its_end() {
    let app = TestApp::with_agent(|agent| {
        agent.num_history_runs = 100;
        agent.instructions = Some("Be brief.".into());
    })
    .await;
    for number in 0..6 {
        app.say("s", &format!("message {number}")).await;
    }
    let prompts: Vec<Value> = app.model.requests().into_iter().map(|request| request["messages"].clone()).collect();
    for pair in prompts.windows(2) {
        let (earlier, later) = (pair[0].as_array().unwrap(), pair[1].as_array().unwrap());
        assert_eq!(earlier[..], later[..earlier.len()]);
    }
}

#[tokio::test]
async fn run_number_ten_thousand_costs_what_run_number_ten_costs() {
    let app = TestApp::with(|settings| settings.database.max_connections = 1).await.without_decoy().await;
    app.execute(
        "insert into sessions (session_id, last_seq) values ('short', 9), ('long', 9999);
         insert into runs (session_id, seq, input)
         select session_id, seq, 'words' from sessions, generate_series(1, last_seq) as seq;
         insert into outcomes (session_id, seq, content) select session_id, seq, 'words' from runs;
         analyze",
    )
    .await;
    let tables = ["sessions", "session_labels", "runs", "outcomes", "run_steps", "open_runs"];
    assert_short_and_long_cost_the_same(&app, &tables).await;
}

#[tokio::test]
async fn state_goes_beside_the_message_when_asked_for() {
    let app = TestApp::with_agent(|agent| {
        agent.session_state = json!({"mood": "curious"}).as_object().unwrap().clone();
        agent.add_session_state_to_context = true;
    })
    .await;
    app.say("s", "hi").await;
    let prompt = last_prompt(&app);
    let (_, message) = prompt.last().unwrap();
    assert!(message.contains(r#"{"mood":"curious"}"#) && message.ends_with("\n\nhi"), "{message}");
    app.say("s", "again").await;
    assert_eq!(texts(&last_prompt(&app))[0], "hi", "what was beside an old message is not repeated");
}
