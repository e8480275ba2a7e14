//! `POST /search` and `POST /memories/search`.

use serde_json::{Value, json};

use crate::support::TestApp;

async fn append(app: &TestApp, user: &str, session: &str, messages: Value) {
    let body = json!({"user_id": user, "messages": messages});
    app.post(&format!("/sessions/{session}/messages"), body).await.expect(201);
}

async fn with_talks() -> TestApp {
    let app = TestApp::start().await;
    append(&app, "alice", "trip", json!([
        {"role": "user", "content": "I went camping at the fjord with my sister.", "created_at": "2023-05-08T10:00:00Z"},
        {"role": "assistant", "content": "That sounds lovely!"},
        {"role": "user", "content": "We saw a moose.", "created_at": "2023-05-08T10:01:00Z"},
    ])).await;
    append(
        &app,
        "alice",
        "food",
        json!([
            {"role": "user", "content": "My sister cooks a great fish soup.", "created_at": "2023-07-01T10:00:00Z"},
        ]),
    )
    .await;
    append(&app, "eve", "other", json!([{"role": "user", "content": "I went camping at the fjord too."}])).await;
    app.post("/memories", json!({"user_id": "alice", "memory": "Alice is afraid of moose.", "topics": ["animals"]}))
        .await
        .expect(200);
    app
}

fn texts(found: &Value) -> Vec<&str> {
    found["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["message"]["content"].as_str().or(hit["memory"]["memory"].as_str()).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn messages_and_memories_are_found_together_with_reasons() {
    let app = with_talks().await;
    let found =
        app.post("/search", json!({"query": "When did we see the moose?", "user_id": "alice", "explain": true}));
    let found = found.await.expect(200);
    let texts = texts(&found);
    assert!(texts[..2].contains(&"We saw a moose.") && texts[..3].contains(&"Alice is afraid of moose."), "{texts:?}");
    let first = &found["data"][0];
    let parts: f64 = first["explain"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!((parts - first["score"].as_f64().unwrap()).abs() < 1e-9, "{first}");
    // The neighbours of a hit are found too, other words and another user's are not.
    assert!(texts.contains(&"That sounds lovely!") && !texts.iter().any(|text| text.contains("too")), "{texts:?}");
}

#[tokio::test]
async fn other_forms_of_a_word_are_found() {
    let app = with_talks().await;
    let found = app.post("/search", json!({"query": "camps", "user_id": "alice"})).await.expect(200);
    assert_eq!(texts(&found)[0], "I went camping at the fjord with my sister.");
}

#[tokio::test]
async fn a_search_can_be_narrowed() {
    let app = with_talks().await;
    for (narrowing, expected) in [
        (json!({"types": ["memory"]}), vec!["Alice is afraid of moose."]),
        (json!({"session_id": "food"}), vec!["My sister cooks a great fish soup."]),
        (json!({"from": "2023-06-01T00:00:00Z", "types": ["message"]}), vec!["My sister cooks a great fish soup."]),
        (json!({"max_tokens": 6, "types": ["message"], "session_id": "trip"}), vec!["That sounds lovely!"]),
    ] {
        let mut body = json!({"query": "sister moose", "user_id": "alice"});
        body.as_object_mut().unwrap().extend(narrowing.as_object().unwrap().clone());
        let found = app.post("/search", body).await.expect(200);
        let mut found = texts(&found);
        found.sort_unstable();
        if narrowing.get("max_tokens").is_some() {
            assert!(found.len() <= 2 && found.iter().all(|text| text.len() < 30), "{found:?}");
        } else {
            assert_eq!(found, expected, "{narrowing}");
        }
    }
    let before = json!({"query": "sister", "user_id": "alice", "to": "2023-06-01T00:00:00Z", "types": ["message"]});
    let found = app.post("/search", before).await.expect(200);
    assert!(!texts(&found).iter().any(|text| text.contains("soup")), "{found}");
}

#[tokio::test]
async fn memories_are_searched_by_topic_and_say_why_they_were_found() {
    let app = with_talks().await;
    let body = json!({"query": "moose?", "user_id": "alice", "topics": ["Animals"], "explain": true});
    let found = app.post("/memories/search", body).await.expect(200);
    assert_eq!(found["data"][0]["memory"], "Alice is afraid of moose.");
    assert_eq!(found["data"][0]["found_by"], json!(["keyword"]));
    let other = json!({"query": "moose", "user_id": "alice", "topics": ["food"]});
    assert_eq!(app.post("/memories/search", other).await.expect(200)["data"], json!([]));
    let foreign = json!({"query": "moose", "user_id": "eve"});
    assert_eq!(app.post("/memories/search", foreign).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn memories_are_found_in_scripts_without_spaces() {
    let app = TestApp::start().await;
    for memory in ["用户喜欢吃玛格丽特披萨", "用户住在里斯本"] {
        app.post("/memories", json!({"memory": memory, "user_id": "ming"})).await.expect(200);
    }
    let found = app.post("/memories/search", json!({"query": "哪种披萨好？", "user_id": "ming"})).await.expect(200);
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["data"][0]["memory"], "用户喜欢吃玛格丽特披萨");
}

#[tokio::test]
async fn any_text_can_be_searched_for() {
    let app = with_talks().await;
    for query in [
        "'",
        "\\",
        "a'b\\c",
        "& | ! ( ) :*",
        "moose & !fish",
        "'' <-> ''",
        "日本語",
        "🦀",
        "the of and",
        "%_",
        "$1",
        "http://x.y/z?a='b'",
        "moose:A*",
        "\u{202e}abc",
    ] {
        app.post("/search", json!({"query": query, "user_id": "alice"})).await.expect(200);
        app.post("/memories/search", json!({"query": query, "user_id": "alice"})).await.expect(200);
    }
    let long = "moose ".repeat(1_600);
    let found = app.post("/search", json!({"query": long, "user_id": "alice"})).await.expect(200);
    assert!(texts(&found).contains(&"We saw a moose."));
}

#[tokio::test]
async fn bad_searches_are_refused_with_a_reason() {
    let app = TestApp::start().await;
    for body in [
        json!({"query": "moose"}),
        json!({"query": " ", "user_id": "alice"}),
        json!({"query": "x".repeat(10_001), "user_id": "alice"}),
        json!({"query": "a\0b", "user_id": "alice"}),
        json!({"query": "x", "user_id": ""}),
        json!({"query": "x", "user_id": "alice", "limit": 0}),
        json!({"query": "x", "user_id": "alice", "limit": 101}),
        json!({"query": "x", "user_id": "alice", "max_tokens": 0}),
        json!({"query": "x", "user_id": "alice", "types": []}),
        json!({"query": "x", "user_id": "alice", "types": ["run"]}),
        json!({"query": "x", "user_id": "alice", "from": "2024-01-01T00:00:00Z", "to": "2023-01-01T00:00:00Z"}),
        json!({"query": "x", "user_id": "alice", "nonsense": 1}),
    ] {
        app.post("/search", body).await.expect_problem(422);
    }
    app.post("/memories/search", json!({"query": "x"})).await.expect_problem(422);
}
