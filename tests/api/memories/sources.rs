//! A memory goes with the last run that it was drawn from.

use colloquy::testing::{
    memories::{
        change::{self, Author, Change, Changed},
        store,
    },
    model::{MemoryId, SessionId, TenantId, UserId, memory::Source},
};
use reqwest::Method;
use serde_json::json;

use super::{id, known, tell};
use crate::support::TestApp;

/// Learns `memory` from run 1 of each of these sessions of alice, in the place of another if one is given.
async fn learn(app: &TestApp, sessions: &[&str], memory: &str, replaces: Option<MemoryId>) -> MemoryId {
    let user = UserId::try_from("alice".to_owned()).unwrap();
    let sources: Vec<Source> = sessions
        .iter()
        .map(|session| Source { session_id: SessionId::try_from((*session).to_owned()).unwrap(), seq: 1, index: 0 })
        .collect();
    let author = Author {
        tenant_id: &TenantId::DEFAULT,
        user_id: &user,
        agent_id: None,
        sources: &sources,
        text_config: "english",
        at: colloquy::testing::clock::now(),
    };
    let (memory, topics, expires_at) = (memory.to_owned(), Vec::new(), None);
    let change = match replaces {
        Some(memory_id) => Change::Replace { memory_id, memory, topics, expires_at },
        None => Change::Add { memory, topics, expires_at },
    };
    let mut tx = colloquy::testing::database::begin(&app.app.db).await.unwrap();
    store::lock_user(&mut tx, &TenantId::DEFAULT, &user).await.unwrap();
    let changed = change::apply(&mut tx, &author, &change).await.unwrap();
    tx.commit().await.unwrap();
    match changed {
        Changed::Added(id) | Changed::Known(id) | Changed::Replaced { new: id, .. } => id,
        other => panic!("{other:?}"),
    }
}

async fn with_sessions(sessions: &[&str]) -> TestApp {
    let app = TestApp::start().await;
    for session in sessions {
        app.run(json!({"message": "hi", "session_id": session, "user_id": "alice"})).await.expect(200);
    }
    app
}

#[tokio::test]
async fn a_memory_goes_with_its_last_source() {
    let app = with_sessions(&["one", "two"]).await;
    learn(&app, &["one"], "Alice likes tea.", None).await;
    learn(&app, &["one", "two"], "Alice has a cat.", None).await;
    app.delete("/sessions/one").await.expect(204);
    assert_eq!(known(&app, "alice").await, ["Alice has a cat."]);
    let both = json!({"session_ids": ["one", "two"]});
    app.send(app.request(Method::DELETE, "/sessions").json(&both)).await.expect(204);
    assert_eq!(known(&app, "alice").await, [""; 0]);
    let left: i64 = sqlx::query_scalar("select count(*) from memory_events").fetch_one(app.db()).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_memory_goes_with_the_message_that_it_was_drawn_from() {
    let app = with_sessions(&["one", "two"]).await;
    learn(&app, &["one"], "Alice likes tea.", None).await;
    let cat = learn(&app, &["one", "two"], "Alice has a cat.", None).await;
    let messages = app.get("/sessions/one/messages").await.expect(200)["data"].clone();
    let [said, answered] = [0, 1].map(|at| messages[at]["id"].as_str().unwrap().to_owned());
    app.delete(&format!("/sessions/one/messages/{answered}")).await.expect(204);
    assert_eq!(known(&app, "alice").await.len(), 2, "what was answered taught nothing");
    app.delete(&format!("/sessions/one/messages/{said}")).await.expect(204);
    assert_eq!(known(&app, "alice").await, ["Alice has a cat."]);
    let history = app.get(&format!("/memories/{cat}/history")).await.expect(200);
    assert!(!history.to_string().contains("\"one\""), "{history}");
}

#[tokio::test]
async fn what_was_told_or_changed_over_the_api_stays() {
    let app = with_sessions(&["one"]).await;
    let learned = learn(&app, &["one"], "Alice likes tea.", None).await;
    learn(&app, &["one"], "Alice has a cat.", None).await;
    let told = tell(&app, "alice", "Alice has a cat").await;
    let change = json!({"memory": "Alice likes green tea."});
    app.send(app.request(Method::PATCH, &format!("/memories/{learned}")).json(&change)).await.expect(200);
    app.delete("/sessions/one").await.expect(204);
    assert_eq!(known(&app, "alice").await, ["Alice has a cat.", "Alice likes green tea."]);
    // Of the history only what the API said is left.
    let history = app.get(&format!("/memories/{learned}/history")).await.expect(200);
    assert_eq!((history.as_array().unwrap().len(), &history[0]["before"]), (1, &json!(null)));
    assert_eq!(app.get(&format!("/memories/{}/history", id(&told))).await.expect(200)[0]["action"], "confirm");
}

#[tokio::test]
async fn what_was_replaced_holds_again_when_its_successor_goes() {
    let app = with_sessions(&["one", "two", "three"]).await;
    let first = learn(&app, &["one"], "Alice is vegetarian.", None).await;
    let second = learn(&app, &["two"], "Alice is no longer vegetarian.", Some(first)).await;
    learn(&app, &["three"], "Alice eats fish only.", Some(second)).await;
    assert_eq!(known(&app, "alice").await, ["Alice eats fish only."]);
    let old = app.get(&format!("/memories/{first}")).await.expect(200);
    assert_eq!(old["superseded_by"], json!(second));

    // The one in the middle goes: the first is still replaced, by the last.
    app.delete("/sessions/two").await.expect(204);
    assert_eq!(known(&app, "alice").await, ["Alice eats fish only."]);
    app.delete("/sessions/three").await.expect(204);
    assert_eq!(known(&app, "alice").await, ["Alice is vegetarian."]);
    app.delete("/sessions/one").await.expect(204);
    assert_eq!(known(&app, "alice").await, [""; 0]);
}

#[tokio::test]
async fn erasing_a_memory_erases_what_it_replaced() {
    let app = with_sessions(&["one", "two"]).await;
    let first = learn(&app, &["one"], "Alice is vegetarian.", None).await;
    let second = learn(&app, &["two"], "Alice is no longer vegetarian.", Some(first)).await;
    let history = app.get(&format!("/memories/{second}/history")).await.expect(200);
    assert_eq!((&history[1]["action"], &history[1]["before"]), (&json!("supersede"), &json!("Alice is vegetarian.")));
    app.delete(&format!("/memories/{second}")).await.expect(204);
    app.get(&format!("/memories/{first}")).await.expect_problem(404);
}
