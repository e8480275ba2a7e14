//! Turns that nothing could be learned from.

use reqwest::Method;
use serde_json::{Value, json};

use super::known;
use crate::support::{
    TestApp,
    scripted_model::{Behaviour, echo, reply, status},
};

type Poison = fn() -> Behaviour;

fn is_learning(request: &Value) -> bool {
    request["messages"].to_string().contains("<remembered>")
}

fn lesson(memory: &str) -> Behaviour {
    reply(&json!({"operations": [{"op": "add", "memory": memory}]}).to_string())
}

/// A model that learns from every turn but those with poison in them.
fn script(app: &TestApp, poison: Poison) {
    app.model.otherwise(move |request| {
        let text = request["messages"].to_string();
        match ["Poison", "tea", "jazz", "rain"].into_iter().find(|word| text.contains(&format!("user: I like {word}")))
        {
            _ if !is_learning(request) => echo(request),
            Some("Poison") => poison(),
            Some(word) => lesson(&format!("The user likes {word}.")),
            None => reply(r#"{"operations": []}"#),
        }
    });
}

async fn learning() -> TestApp {
    TestApp::with_agent(|agent| agent.update_memory_on_run = true).await
}

async fn say(app: &TestApp, message: &str) {
    app.run(json!({"message": message, "user_id": "alice", "session_id": "s"})).await.expect(200);
}

async fn try_jobs(app: &TestApp) {
    app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    app.do_jobs().await;
}

async fn jobs(app: &TestApp) -> Vec<Value> {
    app.get("/jobs").await.expect(200)["data"].as_array().unwrap().clone()
}

fn lessons(app: &TestApp) -> usize {
    app.model.requests().iter().filter(|request| is_learning(request)).count()
}

/// Alice has a turn that is set aside, among others that were learned from.
async fn with_one_set_aside(poison: Poison) -> TestApp {
    let app = learning().await;
    script(&app, poison);
    say(&app, "I like Poison").await;
    say(&app, "I like tea").await;
    for message in ["I like jazz", "I like rain"] {
        try_jobs(&app).await;
        say(&app, message).await;
        // What is new comes first, and tells that the model works.
        try_jobs(&app).await;
    }
    for _ in 0..2 {
        try_jobs(&app).await;
    }
    assert_eq!(known(&app, "alice").await, ["tea", "jazz", "rain"].map(|word| format!("The user likes {word}.")));
    app
}

#[tokio::test]
async fn one_turn_that_nothing_can_be_learned_from_is_set_aside_and_shown() {
    let kinds: [(&str, Poison); 5] = [
        ("holds no JSON", || reply("I would rather not say.")),
        ("holds no JSON", || reply("")),
        ("a list", || reply(r#"{"memories": []}"#)),
        ("cannot be reached", || status(500, "out of order")),
        ("refuses the request", || status(400, "no such words, please")),
    ];
    for (reason, poison) in kinds {
        let app = with_one_set_aside(poison).await;
        let shown = jobs(&app).await;
        assert_eq!(shown.len(), 1, "{shown:?}");
        let (job, error) = (&shown[0], shown[0]["last_error"].as_str().unwrap());
        assert_eq!([&job["kind"], &job["about"], &job["status"]], ["learn_again", "alice", "failed"]);
        assert!(error.contains("set aside until this job is retried") && error.contains(reason), "{error}");
        let before = lessons(&app);
        assert!(before <= 3 + 2 * 4, "{before}");
        for _ in 0..3 {
            say(&app, "Nothing new").await;
            try_jobs(&app).await;
        }
        assert_eq!(lessons(&app), before + 3, "what was set aside is not begun anew");
        assert_eq!(jobs(&app).await[0]["job_id"], job["job_id"]);
    }
}

#[tokio::test]
async fn what_was_set_aside_is_learned_when_it_is_retried_and_the_model_works_again() {
    let app = with_one_set_aside(|| reply("I would rather not say.")).await;
    let retry = format!("/jobs/{}/retry", jobs(&app).await[0]["job_id"]);
    assert_eq!(app.post(&retry, json!({})).await.expect(200)["status"], "waiting");
    for _ in 0..4 {
        try_jobs(&app).await;
    }
    let again = jobs(&app).await;
    assert_eq!((again.len(), &again[0]["status"]), (1, &json!("failed")), "it has three attempts more: {again:?}");
    app.model.otherwise(|request| if is_learning(request) { lesson("The user likes Poison.") } else { echo(request) });
    app.post(&format!("/jobs/{}/retry", again[0]["job_id"]), json!({})).await.expect(200);
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await.last().unwrap(), "The user likes Poison.");
    assert_eq!(jobs(&app).await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_retry_tries_a_model_that_is_being_left_alone() {
    let app = learning().await;
    app.model.otherwise(|request| if is_learning(request) { status(500, "out of order") } else { echo(request) });
    for message in ["I like tea", "I like jazz"] {
        say(&app, message).await;
    }
    for _ in 0..3 {
        try_jobs(&app).await;
    }
    assert_eq!(lessons(&app), 3);
    script(&app, || reply(""));
    app.do_jobs().await;
    assert_eq!(lessons(&app), 3, "it is left alone");
    app.post(&format!("/jobs/{}/retry", jobs(&app).await[0]["job_id"]), json!({})).await.expect(200);
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes jazz."]);
    // What was tried before has its time afterwards.
    try_jobs(&app).await;
    assert_eq!(known(&app, "alice").await, ["The user likes jazz.", "The user likes tea."]);
    assert_eq!(jobs(&app).await, [Value::Null; 0]);
}

#[tokio::test]
async fn an_agent_whose_model_is_left_alone_keeps_no_turn_of_another_agent_back() {
    let app = TestApp::with(|settings| {
        settings.agents[0].update_memory_on_run = true;
        let mut broken = settings.models["fast"].clone();
        broken.id = "broken".into();
        settings.models.insert("broken".into(), broken);
        let mut other = settings.agents[0].clone();
        other.id = "other".into();
        other.memory.model = Some("broken".into());
        other.model = Some("fast".into());
        settings.agents[0].model = Some("fast".into());
        settings.agents.push(other);
    })
    .await;
    app.model.otherwise(|request| match is_learning(request) {
        true if request["model"] == "broken" => status(500, "out of order"),
        true => lesson("The user likes tea."),
        false => echo(request),
    });
    let body = |message: &str| json!({"message": message, "user_id": "alice"});
    for number in 0..4 {
        app.post("/agents/other/runs", body(&format!("I like jazz {number}"))).await.expect(200);
    }
    try_jobs(&app).await;
    app.run(body("I like tea")).await.expect(200);
    try_jobs(&app).await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
}

#[tokio::test]
async fn what_is_set_aside_goes_with_its_session_and_with_its_user() {
    for path in ["/sessions/s", "/users/alice"] {
        let app = with_one_set_aside(|| reply("no")).await;
        assert_eq!(jobs(&app).await.len(), 1);
        let gone = app.send(app.request(Method::DELETE, path)).await;
        assert!([200, 204].contains(&gone.status.as_u16()), "{path}");
        let left: i64 = sqlx::query_scalar("select count(*) from memory_turns").fetch_one(app.db()).await.unwrap();
        assert_eq!(left, 0, "{path}");
        assert_eq!(jobs(&app).await, [Value::Null; 0], "{path}");
    }
}
