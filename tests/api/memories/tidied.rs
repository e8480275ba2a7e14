//! What asks a model at once: a try of the extraction, merging, and runs that wait for what is learned.

use serde_json::{Value, json};

use super::{known, tell};
use crate::support::{
    TestApp,
    scripted_model::{echo, reply, status},
};

#[tokio::test]
async fn a_try_of_the_extraction_stores_nothing() {
    let app = TestApp::start().await;
    tell(&app, "alice", "The user likes tea.").await;
    let operations = json!({"operations": [
        {"op": "update", "id": 1, "memory": "The user likes green tea.", "topics": ["drinks"], "turns": [1]},
        {"op": "add", "memory": "The user lives in Oslo."},
    ]});
    app.model.then(reply(&operations.to_string()));
    let body = json!({"text": "I like green tea. I live in Oslo.", "user_id": "alice"});
    let tried = app.post("/memories/extract", body).await.expect(200);
    assert_eq!(
        (&tried["operations"][0]["op"], &tried["operations"][0]["old_memory"]),
        (&json!("update"), &json!("The user likes tea."))
    );
    assert_eq!(tried["operations"][1]["memory"], "The user lives in Oslo.");
    assert_eq!(known(&app, "alice").await, ["The user likes tea."]);
    app.model.otherwise(|_| reply("no"));
    app.post("/memories/extract", json!({"text": "x"})).await.expect_problem(502);
    app.post("/memories/extract", json!({"text": " "})).await.expect_problem(422);
    app.post("/memories/extract", json!({"text": "x", "agent_id": "nobody"})).await.expect_problem(404);
}

#[tokio::test]
async fn memories_are_merged_as_a_preview_or_at_once() {
    let app = TestApp::start().await;
    for memory in ["The user likes pizza.", "The user likes pizza margherita most.", "The user has a cat."] {
        tell(&app, "alice", memory).await;
    }
    let merged = "The user likes pizza, above all margherita.";
    // They are shown in the order of their topics and texts.
    let merges = json!({"merges": [{"ids": [2, 3], "memory": merged, "topics": ["food"]}]}).to_string();
    app.model.then(reply(&merges)).then(reply(&merges));
    let preview = app.post("/optimize-memories", json!({"user_id": "alice", "apply": false})).await.expect(200);
    assert_eq!((&preview["memories_before"], &preview["memories_after"]), (&json!(3), &json!(2)));
    assert!(preview["tokens_saved"].as_i64().unwrap() > 0, "{preview}");
    assert_eq!(known(&app, "alice").await.len(), 3);
    let applied = app.post("/optimize-memories", json!({"user_id": "alice", "model": "OpenAI:scripted"})).await;
    assert_eq!(applied.expect(200)["memories_after"], 2);
    assert_eq!(known(&app, "alice").await, ["The user has a cat.", merged]);
}

/// A fact is kept for as long as the longest of those that it was merged from.
#[tokio::test]
async fn what_is_merged_does_not_expire_before_its_parts() {
    let app = TestApp::start().await;
    let (soon, later) = ("2999-01-01T00:00:00Z", "2999-06-01T00:00:00Z");
    for (memory, expires_at) in [("The user likes jam.", None), ("The user likes tea.", Some(soon))] {
        let body = json!({"memory": memory, "user_id": "alice", "expires_at": expires_at});
        app.post("/memories", body).await.expect(200);
    }
    for (memory, expires_at) in [("The user is in Oslo.", soon), ("The user is in Oslo until June.", later)] {
        let body = json!({"memory": memory, "user_id": "bob", "expires_at": expires_at});
        app.post("/memories", body).await.expect(200);
    }
    // What is merged is one of the parts, word for word, or a text of its own.
    for (user, merged, expires_at) in
        [("alice", "The user likes tea.", Value::Null), ("bob", "The user stays in Oslo until June.", json!(later))]
    {
        let merges = json!({"merges": [{"ids": [1, 2], "memory": merged, "topics": []}]}).to_string();
        app.model.then(reply(&merges));
        let optimized = app.post("/optimize-memories", json!({"user_id": user})).await.expect(200);
        assert_eq!(optimized["memories_after"], 1, "{optimized}");
        let memory = &app.get(&format!("/memories?user_id={user}")).await.expect(200)["data"][0];
        assert_eq!((&memory["memory"], &memory["expires_at"]), (&json!(merged), &expires_at), "{memory}");
    }
}

#[tokio::test]
async fn what_cannot_be_merged_changes_nothing() {
    let app = TestApp::start().await;
    app.post("/optimize-memories", json!({"user_id": "alice"})).await.expect_problem(404);
    tell(&app, "alice", "The user likes tea.").await;
    tell(&app, "alice", "The user likes jam.").await;
    for merges in [
        json!({"merges": [{"ids": [1, 3], "memory": "x", "topics": []}]}).to_string(),
        json!({"merges": [{"ids": [1, 2], "memory": "x", "topics": []}, {"ids": [2, 1], "memory": "y", "topics": []}]})
            .to_string(),
        "I would rather not.".into(),
    ] {
        app.model.then(reply(&merges));
        app.post("/optimize-memories", json!({"user_id": "alice"})).await.expect_problem(502);
    }
    app.model.then(status(400, "no"));
    app.post("/optimize-memories", json!({"user_id": "alice"})).await.expect_problem(502);
    app.post("/optimize-memories", json!({"user_id": "alice", "model": "x:y"})).await.expect_problem(400);
    assert_eq!(known(&app, "alice").await.len(), 2);
}

#[tokio::test]
async fn a_run_may_wait_for_what_is_learned_from_it() {
    let app = TestApp::with_agent(|agent| agent.update_memory_on_run = true).await;
    app.model.otherwise(|request| {
        if request.to_string().contains("<remembered>") {
            reply(r#"{"operations": [{"op": "add", "memory": "The user likes tea.", "topics": ["drinks"]}]}"#)
        } else {
            echo(request)
        }
    });
    let body = json!({"message": "I like tea", "user_id": "alice", "stream": true, "wait_for_background": true});
    let events = app.run(body).await.events();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    let tail = ["RunContentCompleted", "MemoryUpdateStarted", "MemoryUpdateCompleted", "RunCompleted"];
    assert_eq!(names[names.len() - 4..], tail);
    let memory: &Value = &events[events.len() - 2].data["memories"][0];
    assert_eq!((&memory["memory"], &memory["input"]), (&json!("The user likes tea."), &json!("I like tea")));
    // A client that does not wait gets no such events.
    let body = json!({"message": "Bye", "user_id": "alice", "stream": true});
    assert!(app.run(body).await.events().iter().all(|event| !event.name.starts_with("Memory")));
}
