//! Memories that are learned from runs.

use colloquy::testing::{
    config::{ModelSettings, Provider},
    model::{TenantId, UserId},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, known, tell};
use crate::support::{
    TestApp,
    scripted_model::{Gate, echo, held, reply, status},
};

/// An app whose assistant learns.
async fn learning() -> TestApp {
    TestApp::with_agent(|agent| agent.update_memory_on_run = true).await
}

async fn say(app: &TestApp, user: &str, message: &str) -> Value {
    app.run(json!({"message": message, "user_id": user})).await.expect(200)
}

/// What the scripted model answers when it is asked to learn.
fn operations(operations: &Value) -> String {
    json!({ "operations": operations }).to_string()
}

fn is_learning(request: &Value) -> bool {
    request.to_string().contains("<remembered>")
}

async fn jobs(app: &TestApp) -> Vec<Value> {
    app.get("/jobs").await.expect(200)["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn with_no_key_at_all_pizza_is_remembered_in_a_new_session() {
    let app = TestApp::with(|settings| {
        settings.models = [("fast".to_owned(), ModelSettings::new(Provider::Offline, ""))].into();
        settings.agents[0].update_memory_on_run = true;
    })
    .await;
    say(&app, "mark", "I love pizza, especially margherita").await;
    app.do_jobs().await;
    assert_eq!(known(&app, "mark").await, ["The user likes pizza, especially margherita."]);
    let run = app.run(json!({"message": "What food do I like?", "user_id": "mark", "session_id": "new_session"}));
    let run = run.await.expect(200);
    assert_eq!(run["content"], "You like pizza, especially margherita.");
    // Another user, and nobody, know nothing of it.
    for user in [json!("john"), json!(null)] {
        let run = app.run(json!({"message": "What food do I like?", "user_id": user})).await.expect(200);
        assert!(run["content"].as_str().unwrap().starts_with("I don't know"), "{run}");
    }
}

#[tokio::test]
async fn quick_turns_are_learned_from_in_one_call() {
    let app = learning().await;
    for message in ["I like tea", "I live in Oslo", "Bye"] {
        say(&app, "alice", message).await;
    }
    assert_eq!(jobs(&app).await.len(), 1);
    let before = app.model.requests().len();
    let learned = json!([
        {"op": "add", "memory": "The user likes tea.", "topics": ["drinks"], "turns": [1]},
        {"op": "add", "memory": "The user lives in Oslo.", "topics": ["home"], "turns": [3]},
    ]);
    app.model.then(reply(&operations(&learned)));
    app.do_jobs().await;
    assert_eq!(app.model.requests().len(), before + 1);
    let request = app.model.requests()[before].to_string();
    assert!(request.contains("[1] user: I like tea") && request.contains("[5] user: Bye"), "{request}");
    assert_eq!(known(&app, "alice").await, ["The user likes tea.", "The user lives in Oslo."]);
    assert_eq!(jobs(&app).await, [Value::Null; 0]);
    // Read once: another job finds nothing new to ask about.
    app.do_jobs().await;
    assert_eq!(app.model.requests().len(), before + 1);
}

#[tokio::test]
async fn a_contradiction_takes_the_place_of_what_was_known() {
    let app = learning().await;
    tell(&app, "alice", "The user is vegetarian.").await;
    say(&app, "alice", "I eat meat again").await;
    let update = json!([{"op": "update", "id": 1, "memory": "The user is no longer vegetarian.", "turns": [1]}]);
    app.model.then(reply(&operations(&update)));
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user is no longer vegetarian."]);
    let run = say(&app, "alice", "Am I vegetarian?").await;
    let prompt = app.model.requests().last().unwrap().to_string();
    assert!(prompt.contains("no longer vegetarian") && !prompt.contains("is vegetarian"), "{prompt}");
    // The run says which memories it was given, and why.
    let stored = app.get(&format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap())).await.expect(200);
    let memories = &stored["context"]["memories"];
    assert!(memories[0]["parts"]["keyword"].as_f64().unwrap() > 0.0, "{stored}");
}

#[tokio::test]
async fn a_turn_that_cannot_be_learned_from_keeps_no_other_back() {
    let app = learning().await;
    app.model.otherwise(|request| {
        let text = request.to_string();
        let said = |words: &str| text.contains(&format!("user: {words}"));
        match request {
            _ if !is_learning(request) => echo(request),
            _ if said("Poison") => reply("I would rather not say."),
            _ if said("I like tea") => reply(&operations(&json!([{"op": "add", "memory": "The user likes tea."}]))),
            _ => reply(&operations(&json!([{"op": "add", "memory": "The user likes jazz."}]))),
        }
    });
    say(&app, "alice", "Poison").await;
    say(&app, "alice", "I like tea").await;
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    assert!(jobs(&app).await[0]["last_error"].as_str().unwrap().contains("could not be used"));
    let before = app.model.requests().len();
    say(&app, "alice", "I like jazz").await;
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea.", "The user likes jazz."]);
    // The run and what it taught: the other is not begun anew.
    assert_eq!(app.model.requests().len(), before + 2);
}

#[tokio::test]
async fn what_a_memory_takes_in_a_prompt_is_counted_when_it_is_stored() {
    let app = learning().await;
    let told = tell(&app, "alice", "Alice drinks tea.").await;
    let tokens = async |message: &str| {
        let run = say(&app, "alice", message).await;
        let stored = app.get(&format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap())).await.expect(200);
        assert_eq!(stored["context"]["memories"].as_array().unwrap().len(), 1, "{stored}");
        stored["context"]["tokens"]["memories"].as_i64().unwrap()
    };
    let short = tokens("Tea?").await;
    let longer = json!({"memory": "Alice drinks tea, coffee, cocoa, lemonade and hot water with ginger."});
    app.send(app.request(Method::PATCH, &format!("/memories/{}", id(&told))).json(&longer)).await.expect(200);
    let long = tokens("Tea?").await;
    assert!(long > short + 5, "{short} {long}");
    // By an older build it was not.
    app.execute("update memories set tokens = null").await;
    assert_eq!((tokens("Tea?").await, tokens("Bread?").await), (long, long));
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_sent_back_once_and_then_the_job_fails() {
    let app = learning().await;
    tell(&app, "eve", "Eve's secret.").await;
    say(&app, "alice", "I like tea").await;
    let foreign = operations(&json!([{"op": "update", "id": 7, "memory": "x", "turns": [1]}]));
    app.model.then(reply("I would rather talk about the weather.")).then(reply(&foreign));
    app.do_jobs().await;
    let failed = &jobs(&app).await[0];
    assert!(failed["last_error"].as_str().unwrap().contains("names an id"), "{failed}");
    let complaint = app.model.requests().last().unwrap().to_string();
    assert!(complaint.contains("holds no JSON"), "{complaint}");
    assert_eq!(known(&app, "alice").await, [""; 0]);
    assert_eq!(known(&app, "eve").await, ["Eve's secret."]);
    // They are paid for all the same.
    assert!(learning_cost(&app).await > 0);

    // The next attempt reads the same turn.
    app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    app.model.then(reply(&operations(&json!([{"op": "add", "memory": "The user likes tea.", "turns": [1]}]))));
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    assert_eq!(jobs(&app).await, [Value::Null; 0]);
}

async fn learning_cost(app: &TestApp) -> i64 {
    let cost = "select coalesce(sum((tokens -> 2)::bigint), 0)::bigint from sessions, jsonb_each(usage) of_model (name, tokens)
                where name like 'memory%'";
    sqlx::query_scalar(cost).fetch_one(app.db()).await.unwrap()
}

#[tokio::test]
async fn a_model_that_cannot_be_held_to_a_form_is_asked_without_one() {
    let app = learning().await;
    say(&app, "alice", "I like tea").await;
    let learned = operations(&json!([{"op": "add", "memory": "The user likes tea.", "turns": [1]}]));
    app.model.then(status(400, "response_format is not supported")).then(reply(&learned));
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    let request = app.model.requests().last().unwrap().clone();
    assert!(request.get("response_format").is_none(), "{request}");
}

#[tokio::test]
async fn secrets_and_unwanted_topics_are_not_remembered() {
    let app = TestApp::with_agent(|agent| {
        agent.update_memory_on_run = true;
        agent.memory.excluded_topics = vec!["Health".into()];
        agent.memory.instructions = Some("Look for allergies.".into());
    })
    .await;
    say(&app, "alice", "My card is 4111 1111 1111 1111 and I have a cold. I like tea.").await;
    let learned = json!([
        {"op": "add", "memory": "The user's card is 4111 1111 1111 1111.", "topics": []},
        {"op": "add", "memory": "The user has a cold.", "topics": ["health"]},
        {"op": "add", "memory": "The user likes tea.", "topics": ["drinks"]},
    ]);
    app.model.then(reply(&operations(&learned)));
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    assert!(app.model.requests().last().unwrap().to_string().contains("Look for allergies."));
}

#[tokio::test]
async fn what_was_answered_to_a_question_is_nothing_to_remember() {
    let app = learning().await;
    app.model.then(reply("The capital of France is Paris."));
    say(&app, "alice", "What is the capital of France?").await;
    let learned = json!([
        {"op": "add", "memory": "The capital of France is Paris.", "turns": [1]},
        {"op": "add", "memory": "The user learns the capitals of Europe.", "turns": [1]},
    ]);
    app.model.then(reply(&operations(&learned)));
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user learns the capitals of Europe."]);
}

#[tokio::test]
async fn nothing_is_learned_from_nobody_nor_without_the_switch() {
    let app = learning().await;
    app.run(json!({"message": "I like tea"})).await.expect(200);
    app.run(json!({"message": "I like tea", "user_id": "alice", "update_memory_on_run": false})).await.expect(200);
    assert_eq!(jobs(&app).await, [Value::Null; 0]);
    let plain = TestApp::start().await;
    say(&plain, "alice", "I like tea").await;
    assert_eq!(jobs(&plain).await, [Value::Null; 0]);
    plain.run(json!({"message": "I like tea", "user_id": "alice", "update_memory_on_run": true})).await.expect(200);
    assert_eq!(jobs(&plain).await.len(), 1);
}

#[tokio::test]
async fn a_session_that_is_deleted_before_it_is_read_teaches_nothing() {
    let app = learning().await;
    app.run(json!({"message": "I like tea", "user_id": "alice", "session_id": "s"})).await.expect(200);
    app.delete("/sessions/s").await.expect(204);
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, [""; 0]);
    assert_eq!(app.model.requests().len(), 1);
}

#[tokio::test]
async fn a_run_that_settles_while_the_job_runs_is_read_by_the_next_one() {
    let app = learning().await;
    say(&app, "alice", "I like tea").await;
    let user = UserId::try_from("alice".to_owned()).unwrap();
    app.execute("delete from graphile_worker._private_jobs").await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply(&operations(&json!([])))));
    let learning = colloquy::testing::memories::extraction::learn(&app.app, &TenantId::DEFAULT, &user);
    let meanwhile = async {
        while app.model.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        app.model.otherwise(
            |request| {
                if is_learning(request) { reply(&operations(&json!([]))) } else { echo(request) }
            },
        );
        say(&app, "alice", "I live in Oslo").await;
        gate.open();
    };
    let (learned, ()) = tokio::join!(learning, meanwhile);
    learned.unwrap();
    app.do_jobs().await;
    let unread: i64 = sqlx::query_scalar("select count(*) from memory_turns").fetch_one(app.db()).await.unwrap();
    assert_eq!(unread, 0);
    for said in ["I like tea", "I live in Oslo"] {
        let read = app.model.requests().into_iter().filter(is_learning);
        assert_eq!(read.filter(|request| request.to_string().contains(said)).count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_run_queues_its_job_beside_its_answer_and_quick_runs_have_one_for_all() {
    let app = learning().await;
    say(&app, "alice", "I like tea").await;
    while app.count_jobs().await == 0 {
        tokio::task::yield_now().await;
    }
    say(&app, "alice", "And cake").await;
    say(&app, "bob", "I like coffee").await;
    while app.count_jobs().await == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(jobs(&app).await.len(), 2);
}

#[tokio::test]
async fn a_run_is_learned_from_though_the_job_that_was_to_read_it_had_been_replaced() {
    let app = learning().await;
    say(&app, "alice", "I like tea").await;
    assert_eq!(jobs(&app).await.len(), 1);
    // As the library leaves a job that was begun, had another take its place, and whose process died.
    app.execute("update graphile_worker._private_jobs set attempts = max_attempts, key = null").await;
    app.model.then(reply(&operations(&json!([{"op": "add", "memory": "The user likes tea.", "turns": [1]}]))));
    colloquy::testing::memories::extraction::sweep(&app.app).await.unwrap();
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
}

#[tokio::test]
async fn a_run_is_learned_from_though_the_process_died_before_its_job_was_queued() {
    let app = learning().await;
    say(&app, "alice", "I like tea").await;
    assert_eq!(jobs(&app).await.len(), 1);
    app.execute("delete from graphile_worker._private_jobs").await;
    app.model.then(reply(&operations(&json!([{"op": "add", "memory": "The user likes tea.", "turns": [1]}]))));
    // By the clock.
    colloquy::testing::memories::extraction::sweep(&app.app).await.unwrap();
    assert_eq!(app.count_jobs().await, 1);
    app.do_jobs().await;
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    assert_eq!(jobs(&app).await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_job_that_failed_for_good_is_not_queued_again_by_the_clock() {
    let app = learning().await;
    say(&app, "alice", "I like tea").await;
    assert_eq!(jobs(&app).await.len(), 1);
    app.execute("update graphile_worker._private_jobs set attempts = max_attempts").await;
    let asked = app.model.requests().len();
    app.do_jobs().await;
    assert_eq!(app.model.requests().len(), asked);
    assert_eq!(jobs(&app).await[0]["status"], "failed");
}

#[tokio::test]
async fn what_was_said_elsewhere_is_learned_from_too() {
    let app = TestApp::with(|settings| {
        settings.models = [("fast".to_owned(), ModelSettings::new(Provider::Offline, ""))].into();
        settings.agents[0].update_memory_on_run = true;
    })
    .await;
    let said = json!([
        {"role": "user", "content": "I love pizza"},
        {"role": "assistant", "content": "Who does not?"},
        {"role": "user", "content": "I live in Oslo"},
    ]);
    let body = json!({"user_id": "mark", "agent_id": "assistant", "messages": said});
    app.post("/sessions/s/messages", body).await.expect(201);
    assert_eq!(jobs(&app).await.len(), 1);
    app.do_jobs().await;
    assert_eq!(known(&app, "mark").await, ["The user likes pizza.", "The user lives in Oslo."]);
}
