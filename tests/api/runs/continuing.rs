//! Going on from runs that have ended, without a turn that is there twice.

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{reply, reply_with_tool_call, status},
};

async fn go_on(app: &TestApp, run: &Value, body: Value) -> Value {
    app.post(&path(run), body).await.expect(200)
}

fn path(run: &Value) -> String {
    format!("/agents/assistant/runs/{}/continue", run["run_id"].as_str().unwrap())
}

/// What the model was last told, without the system prompt: role and text.
fn last_prompt(app: &TestApp) -> Vec<(String, String)> {
    let request = app.model.requests().pop().unwrap();
    let messages = request["messages"].as_array().unwrap().iter().filter(|message| message["role"] != "system");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    messages.map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

fn spoken(messages: &[(&str, &str)]) -> Vec<(String, String)> {
    messages.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn another_answer_takes_the_place_of_the_first() {
    let app = TestApp::start().await;
    app.model.then(reply("hello")).then(reply("bad")).then(reply("good")).then(reply("fine"));
    app.say("s", "hi").await;
    let first = app.say("s", "tell me").await;
    let second = go_on(&app, &first, json!({"regenerate": true, "additional_instructions": "Be good."})).await;
    assert_eq!(
        last_prompt(&app),
        spoken(&[("user", "hi"), ("assistant", "hello"), ("user", "tell me"), ("user", "Be good.")])
    );
    assert_eq!((&second["content"], &second["regenerated_from"]), (&json!("good"), &first["run_id"]));
    app.say("s", "next").await;
    assert_eq!(
        last_prompt(&app),
        spoken(&[
            ("user", "hi"),
            ("assistant", "hello"),
            ("user", "tell me"),
            ("user", "Be good."),
            ("assistant", "good"),
            ("user", "next")
        ])
    );
    let runs = app.get("/sessions/s/runs").await.expect(200);
    let statuses: Vec<_> = runs.as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["COMPLETED", "REGENERATED", "COMPLETED", "COMPLETED"]);
}

#[tokio::test]
async fn an_answer_that_fails_does_not_cost_the_first() {
    let app = TestApp::start().await;
    let first = app.say("s", "tell me").await;
    app.model.then(status(500, "no"));
    app.post(&path(&first), json!({"regenerate": true})).await.expect_problem(502);
    app.say("s", "next").await;
    assert_eq!(
        last_prompt(&app),
        spoken(&[("user", "tell me"), ("assistant", "Hello! You said: tell me"), ("user", "next")])
    );
}

#[tokio::test]
async fn a_finished_run_takes_more_input() {
    let app = TestApp::start().await;
    let first = app.say("s", "hi").await;
    let second = go_on(&app, &first, json!({"input": "and more"})).await;
    assert_eq!((&second["forked_from_run_id"], &second["seq"]), (&first["run_id"], &json!(2)));
    assert_eq!(
        last_prompt(&app),
        spoken(&[("user", "hi"), ("assistant", "Hello! You said: hi"), ("user", "and more")])
    );
    let third = go_on(&app, &second, json!({"input": "no, less", "continue_from": "last_user"})).await;
    assert_eq!(third["regenerated_from"], second["run_id"]);
    assert_eq!(
        last_prompt(&app),
        spoken(&[("user", "hi"), ("assistant", "Hello! You said: hi"), ("user", "and more"), ("user", "no, less")])
    );
}

#[tokio::test]
async fn a_failed_run_goes_on_after_the_tools_that_it_has_called() {
    let app = TestApp::with_agent(|agent| agent.read_chat_history = true).await;
    app.model.then(reply_with_tool_call("get_chat_history", "{}")).then(status(500, "no"));
    app.run(json!({"message": "look it up", "session_id": "s"})).await.expect_problem(502);
    let failed = app.get("/sessions/s/runs").await.expect(200)[0].clone();
    app.model.then(reply("found"));
    let streamed = app.post_form(&path(&failed), &[("session_id", "s")]).await.events();
    assert_eq!(streamed.last().unwrap().data["content"], "found");
    let roles: Vec<_> = last_prompt(&app).into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    let run = app.get("/sessions/s/runs").await.expect(200)[1].clone();
    assert_eq!((&run["status"], run["messages"].as_array().unwrap().len()), (&json!("COMPLETED"), 4));
}

#[tokio::test]
async fn what_cannot_be_continued_is_said() {
    let app = TestApp::start().await;
    let first = app.run(json!({"message": "hi", "session_id": "s", "user_id": "a"})).await.expect(200);
    app.run(json!({"message": "more", "session_id": "s", "user_id": "a"})).await.expect(200);
    let problem = app.post(&path(&first), json!({"regenerate": true})).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("fork"));
    let newest = app.get("/sessions/s/runs").await.expect(200)[1].clone();
    app.post(&path(&newest), json!({})).await.expect_problem(422);
    app.post(&path(&newest), json!({"input": "x", "user_id": "mallory"})).await.expect_problem(404);
    app.post(&path(&newest), json!({"input": "x", "continue_from": 3})).await.expect_problem(422);
    app.post(&path(&newest), json!({"inputs": "x"})).await.expect_problem(422);
    let unknown = json!({"run_id": "01a206c1-4b42-72a9-b242-a016793c2551"});
    app.post(&path(&unknown), json!({"input": "x"})).await.expect_problem(404);
    let tools = app.post_form(&path(&newest), &[("tools", "[{}]")]).await;
    tools.expect_problem(422);
}

#[tokio::test]
async fn a_run_is_continued_in_the_background_too() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 1).await;
    let first = app.say("s", "tell me").await;
    let accepted = app.post(&path(&first), json!({"regenerate": true, "background": true})).await.expect(202);
    let events = app.get(&format!("/agents/assistant/runs/{}/events", accepted["run_id"].as_str().unwrap())).await;
    assert_eq!(events.events().last().unwrap().name, "RunCompleted");
    let runs = app.get("/sessions/s/runs").await.expect(200);
    assert_eq!((&runs[0]["status"], &runs[1]["status"]), (&json!("REGENERATED"), &json!("COMPLETED")));
}

#[tokio::test]
async fn an_older_run_is_continued_in_a_copy_of_the_session_once() {
    let app = TestApp::start().await;
    let first = app.say("s", "one").await;
    app.say("s", "two").await;
    let body = json!({"input": "instead", "fork": true});
    let ask = || app.request(reqwest::Method::POST, &path(&first)).header("idempotency-key", "k").json(&body);
    let went_on = app.send(ask()).await.expect(200);
    assert_ne!(went_on["session_id"], "s");
    assert_eq!(went_on["forked_from_run_id"], first["run_id"]);
    assert_eq!(
        last_prompt(&app),
        spoken(&[("user", "one"), ("assistant", "Hello! You said: one"), ("user", "instead")])
    );
    assert_eq!(app.send(ask()).await.expect(200)["run_id"], went_on["run_id"]);
    assert_eq!(app.get("/sessions").await.expect(200)["meta"]["total_count"], 2);
    let again = app.post(&path(&first), json!({"regenerate": true, "fork": true})).await.expect(200);
    assert_eq!(last_prompt(&app), spoken(&[("user", "one")]));
    let copy = app.get(&format!("/sessions/{}/runs", again["session_id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&copy[0]["status"], &copy[1]["status"]), (&json!("REGENERATED"), &json!("COMPLETED")));
}

#[tokio::test]
async fn a_copy_in_which_nothing_begins_does_not_stay() {
    let app = TestApp::with(|settings| settings.runs.max_background_waiting = 0).await;
    let first = app.say("s", "hi").await;
    app.post(&path(&first), json!({"fork": true})).await.expect_problem(422);
    let background = json!({"input": "instead", "fork": true, "background": true});
    app.post(&path(&first), background).await.expect_problem(429);
    assert_eq!(app.get("/sessions").await.expect(200)["meta"]["total_count"], 1);
    app.model.then(status(400, "no"));
    app.post(&path(&first), json!({"input": "instead", "fork": true})).await.expect_problem(502);
    assert_eq!(app.get("/sessions").await.expect(200)["meta"]["total_count"], 2, "a run that failed is kept");
}
