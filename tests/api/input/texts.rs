//! Text of any script comes back as it was sent.

use serde_json::json;

use super::{RUNS, percent};
use crate::support::TestApp;

const TEXTS: [&str; 5] = [
    "Crab 🦀, family 👨‍👩‍👧‍👦, flag 🇨🇭",
    "שלום עולם \u{200f}و مرحبا",
    "𝒳 𠜎 𓀀",
    "e\u{301} is not \u{e9}",
    "quotes \" ' \\ and %20 + & = / ? # ; \u{fffd}",
];

#[tokio::test]
async fn messages_come_back_as_they_were_sent() {
    let app = TestApp::start().await;
    for (text, number) in TEXTS.into_iter().zip(1..) {
        let id = format!("s-{number}");
        let text = format!("{text}\n\t\u{1b}[0m");
        let run = app.say(&id, &text).await;
        assert_eq!(run["content"], format!("Hello! You said: {text}"));
        let session = app.get(&format!("/sessions/{id}")).await.expect(200);
        assert_eq!(session["messages"][0]["content"], text);
        assert_eq!(session["messages"][1]["content"], run["content"]);
        let form = [("message", text.as_str()), ("stream", "false"), ("session_id", id.as_str())];
        assert_eq!(app.post_form(RUNS, &form).await.expect(200)["content"], run["content"]);
        let events = app.run(json!({"message": text, "session_id": id, "stream": true})).await.events();
        assert_eq!(events.last().unwrap().data["content"], run["content"]);
    }
}

#[tokio::test]
async fn names_and_metadata_come_back_as_they_were_sent() {
    let app = TestApp::start().await;
    for text in TEXTS {
        let body = json!({"session_name": text, "metadata": {text: [text]}, "session_state": {text: text}});
        let session = app.post("/sessions", body).await.expect(201);
        assert_eq!(session["session_name"], text);
        assert_eq!(session["metadata"], json!({text: [text]}));
        assert_eq!(session["session_state"], json!({text: text}));
        let query = serde_urlencoded::to_string([("session_name", text)]).unwrap();
        let found = app.get(&format!("/sessions?{query}")).await.expect(200);
        assert_eq!(found["data"][0]["session_name"], text);
        assert_eq!(found["meta"]["total_count"], 1);
    }
}

#[tokio::test]
async fn ids_may_be_any_text_in_bodies_queries_and_paths() {
    let app = TestApp::start().await;
    for text in TEXTS {
        let run = app.run(json!({"message": "Hi", "session_id": text, "user_id": text})).await.expect(200);
        assert_eq!((&run["session_id"], &run["user_id"]), (&json!(text), &json!(text)));
        let user = serde_urlencoded::to_string([("user_id", text)]).unwrap();
        let path = format!("/sessions/{}", percent(text));
        assert_eq!(app.get(&format!("{path}?{user}")).await.expect(200)["session_id"], text);
        assert_eq!(app.get(&format!("{path}/runs?{user}")).await.expect(200)[0]["user_id"], text);
        let renamed = app.post(&format!("{path}/rename?{user}"), json!({"session_name": "N"})).await.expect(200);
        assert_eq!(renamed["session_id"], text);
        assert_eq!(app.get(&format!("/sessions?{user}")).await.expect(200)["data"][0]["session_id"], text);
        app.delete(&format!("{path}?{user}")).await.expect(204);
        app.get(&path).await.expect_problem(404);
    }
}

#[tokio::test]
async fn the_automatic_name_is_cut_between_characters() {
    let app = TestApp::start().await;
    app.say("s-1", &"🦀".repeat(150)).await;
    let name = app.get("/sessions/s-1").await.expect(200)["session_name"].as_str().unwrap().to_owned();
    assert_eq!(name, format!("{}…", "🦀".repeat(99)));
}

#[tokio::test]
async fn numbers_survive_a_round_trip() {
    let app = TestApp::start().await;
    let numbers =
        json!([f64::MAX, f64::MIN, f64::MIN_POSITIVE, -943.305_046_955_987_3, 0.1, i64::MAX, u64::MAX, -0.5e-300]);
    let body = json!({"message": "hi", "session_id": "s", "session_state": {"n": numbers}, "metadata": {"n": numbers}});
    let run = app.run(body).await.expect(200);
    assert_eq!(run["session_state"]["n"], numbers);
    app.say("s", "again").await;
    assert_eq!(app.get("/sessions/s").await.expect(200)["session_state"]["n"], numbers);
    assert_eq!(app.get("/sessions/s/runs").await.expect(200)[0]["metadata"]["n"], numbers);
    app.get("/sessions").await.expect(200);
}
