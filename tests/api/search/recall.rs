//! How much of what answers a question is found, on a small conversation of our own. A change that finds less fails.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::TestApp;

#[derive(Deserialize)]
struct Fixture {
    sessions: Vec<Session>,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Session {
    session_id: String,
    messages: Vec<Value>,
}

#[derive(Deserialize)]
struct Question {
    question: String,
    /// The ids of the messages that answer it.
    evidence: Vec<String>,
}

#[tokio::test]
async fn the_turns_that_answer_a_question_are_among_the_first() {
    let app = TestApp::start().await;
    let fixture: Fixture = serde_json::from_str(include_str!("../../fixtures/search.json")).unwrap();
    let mut id_of = HashMap::new();
    for mut session in fixture.sessions {
        for message in &mut session.messages {
            let id = message.as_object_mut().unwrap().remove("id").unwrap();
            id_of.insert(message["content"].as_str().unwrap().to_owned(), id.as_str().unwrap().to_owned());
        }
        let path = format!("/sessions/{}/messages", session.session_id);
        app.post(&path, json!({"user_id": "ann", "messages": session.messages})).await.expect(201);
    }
    let mut missed = Vec::new();
    let (mut at_1, mut at_5) = (0, 0);
    for Question { question, evidence } in &fixture.questions {
        let body = json!({"query": question, "user_id": "ann", "limit": 5});
        let found = app.post("/search", body).await.expect(200);
        let hits = found["data"].as_array().unwrap().iter();
        let ids: Vec<&String> = hits.map(|hit| &id_of[hit["message"]["content"].as_str().unwrap()]).collect();
        at_1 += usize::from(ids.first().is_some_and(|id| evidence.contains(id)));
        let all_found = evidence.iter().all(|id| ids.contains(&id));
        at_5 += usize::from(all_found);
        if !all_found {
            missed.push(question);
        }
    }
    let all = fixture.questions.len();
    assert!(at_5 * 100 >= all * 88 && at_1 * 100 >= all * 72, "{at_5} and {at_1} of {all}; missed: {missed:?}");
}
