//! Searches that go by vectors too, with an embedding model behind them over real HTTP.

use std::time::Duration;

use colloquy::testing::{
    config::{EmbeddingProvider, EmbeddingSettings, Settings},
    jobs::{self, Job},
};
use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Behaviour, echo, hang, status},
    test_database,
};

/// What the words of these tests are about; a text points where its words point, and a little aside.
const SUBJECTS: [&[&str]; 3] =
    [&["dog", "puppy", "animal"], &["pizza", "hungry", "meal"], &["oslo", "trip", "journey"]];

/// An embedding model with so many dimensions; whatever else is asked is answered with an echo.
pub(crate) fn embedding(dimensions: usize) -> impl FnMut(&Value) -> Behaviour + Send + 'static {
    move |request| {
        let Some(texts) = request["input"].as_array() else { return echo(request) };
        let data = texts.iter().enumerate().map(|(index, text)| {
            let text = text.as_str().unwrap().to_lowercase();
            let mut vector = vec![0.01; dimensions];
            for (axis, words) in SUBJECTS.iter().enumerate() {
                if words.iter().any(|word| text.contains(word)) {
                    vector[axis] = 1.0;
                }
            }
            json!({"index": index, "embedding": vector})
        });
        // Services may answer in any order.
        Behaviour::Raw(json!({ "data": data.rev().collect::<Vec<_>>() }).to_string())
    }
}

pub(crate) fn with_embeddings(settings: &mut Settings) {
    settings.search.embeddings = EmbeddingSettings {
        provider: EmbeddingProvider::OpenAi,
        id: "small".into(),
        base_url: settings.models["fast"].base_url.clone(),
        query_timeout: Duration::from_millis(500),
        ..EmbeddingSettings::default()
    };
}

async fn start() -> TestApp {
    let app = TestApp::with(with_embeddings).await;
    app.model.otherwise(embedding(8));
    app
}

async fn append(app: &TestApp, session: &str, text: &str) {
    let body = json!({"user_id": "alice", "messages": [{"role": "user", "content": text}]});
    app.post(&format!("/sessions/{session}/messages"), body).await.expect(201);
}

async fn search(app: &TestApp, query: &str) -> Value {
    app.post("/search", json!({"query": query, "user_id": "alice", "explain": true})).await.expect(200)
}

fn first(found: &Value) -> &str {
    let hit = &found["data"][0];
    hit["message"]["content"].as_str().or(hit["memory"]["memory"].as_str()).unwrap_or_default()
}

async fn count(app: &TestApp, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(app.db()).await.unwrap()
}

async fn vectors(app: &TestApp) -> i64 {
    count(app, "select count(*) from message_vectors").await
}

/// The calls of the embedding model.
fn calls(app: &TestApp) -> usize {
    app.model.recorded().iter().filter(|call| call.path.ends_with("/embeddings")).count()
}

#[tokio::test]
async fn what_says_the_same_in_other_words_is_found() {
    let app = start().await;
    append(&app, "a", "My puppy is called Rex.").await;
    append(&app, "b", "The weather is nice.").await;
    app.post("/memories", json!({"user_id": "alice", "memory": "Alice was hungry."})).await.expect(200);
    app.run(json!({"message": "I am back from a journey", "user_id": "alice", "session_id": "c"})).await.expect(200);
    app.do_jobs().await;
    for (question, expected) in [
        ("Which animals?", "My puppy is called Rex."),
        ("Any meals?", "Alice was hungry."),
        ("Trips?", "I am back from a journey"),
    ] {
        let found = search(&app, question).await;
        assert!(first(&found).contains(expected), "{question}: {found}");
        assert_eq!(found["meta"]["vectors"], "used");
        assert!(found["data"][0]["explain"]["vector"].as_f64().unwrap() > 0.0, "{found}");
    }
    let memories = json!({"query": "Any meals?", "user_id": "alice"});
    let memories = app.post("/memories/search", memories).await.expect(200);
    assert_eq!(memories["data"][0]["found_by"], json!(["vector"]));
    // Nobody else's are.
    let foreign = app.post("/search", json!({"query": "Which animals?", "user_id": "eve"})).await.expect(200);
    assert_eq!(foreign["data"], json!([]));
}

#[tokio::test]
async fn forks_and_sessions_in_a_range_of_time_are_found_too() {
    let app = start().await;
    append(&app, "a", "My puppy is called Rex.").await;
    app.post("/sessions/a/fork", json!({"session_id": "copy"})).await.expect(201);
    app.do_jobs().await;
    assert_eq!(vectors(&app).await, 2);
    let body = json!({"query": "Which animals?", "session_id": "copy"});
    assert_eq!(app.post("/search", body).await.expect(200)["data"].as_array().unwrap().len(), 1);
    let past = json!({"query": "Which animals?", "user_id": "alice", "to": "2001-01-01T00:00:00Z"});
    assert_eq!(app.post("/search", past).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_service_that_is_away_or_slow_leaves_the_search_to_words() {
    for failure in [hang(), status(503, "away"), Behaviour::Raw("{\"data\": []}".into())] {
        let app = start().await;
        append(&app, "a", "My puppy is called Rex.").await;
        app.do_jobs().await;
        let before = calls(&app);
        app.model.then(failure);
        let found = search(&app, "puppy").await;
        assert_eq!((first(&found), &found["meta"]["vectors"]), ("My puppy is called Rex.", &json!("unavailable")));
        // For a moment nobody waits for it again.
        assert_eq!(search(&app, "puppy").await["meta"]["vectors"], "unavailable");
        assert_eq!(calls(&app), before + 1);
    }
}

#[tokio::test]
async fn a_model_with_vectors_of_another_length_makes_all_anew_while_searches_go_on() {
    let app = start().await;
    append(&app, "a", "My puppy is called Rex.").await;
    app.post("/memories", json!({"user_id": "alice", "memory": "Alice was hungry."})).await.expect(200);
    app.do_jobs().await;
    app.model.otherwise(embedding(12));
    // The old vectors are not compared with the new question.
    let found = search(&app, "Which animals? Rex").await;
    assert_eq!(first(&found), "My puppy is called Rex.");
    assert_eq!(found["data"][0]["explain"].get("vector"), None, "{found}");
    let mut tx = colloquy::testing::database::begin(&app.app.db).await.unwrap();
    jobs::enqueue(&app.app, &mut tx, &Job::EmbedNew).await.unwrap();
    tx.commit().await.unwrap();
    app.do_jobs().await;
    assert_eq!(first(&search(&app, "Which animals?").await), "My puppy is called Rex.");
    assert_eq!(first(&search(&app, "Any meals?").await), "Alice was hungry.");
    assert_eq!(count(&app, "select count(*) from message_vectors where embedding_model = 'small/12'").await, 1);
}

#[tokio::test]
async fn vectors_go_with_what_they_are_of() {
    let app = start().await;
    for session in ["a", "b"] {
        append(&app, session, "My puppy is called Rex.").await;
    }
    let memory = app.post("/memories", json!({"user_id": "alice", "memory": "Alice was hungry."})).await.expect(200);
    app.do_jobs().await;
    assert_eq!(vectors(&app).await, 2);
    // A memory that says something else has another vector.
    let path = format!("/memories/{}?user_id=alice", memory["memory_id"].as_str().unwrap());
    app.patch(&path, json!({"memory": "Alice has a dog."})).await.expect(200);
    assert_eq!(count(&app, "select count(*) from memories where embedding is not null").await, 0);
    app.do_jobs().await;
    assert_eq!(count(&app, "select count(*) from memories where embedding is not null").await, 1);
    app.delete("/sessions/a").await.expect(204);
    assert_eq!(vectors(&app).await, 1);
    app.delete("/users/alice").await;
    assert_eq!(vectors(&app).await, 0);
    assert_eq!(count(&app, "select count(*) from unembedded_sessions").await, 0);
}

#[tokio::test]
async fn vectors_are_read_once_and_yet_are_those_of_now() {
    let app = start().await;
    append(&app, "a", "My puppy is called Rex.").await;
    append(&app, "b", "She has an animal too.").await;
    app.do_jobs().await;
    for _ in 0..2 {
        assert_eq!(first(&search(&app, "Which dog?").await), "She has an animal too.");
        app.execute("update message_vectors set embedding = ''").await;
    }
    // More was said.
    append(&app, "a", "I am hungry.").await;
    app.do_jobs().await;
    assert_eq!(first(&search(&app, "Any meals?").await), "I am hungry.");
    // Another conversation of the same length under the same id.
    app.delete("/sessions/a").await.expect(204);
    for text in ["We go on a journey.", "It is far."] {
        append(&app, "a", text).await;
    }
    app.do_jobs().await;
    assert_eq!(first(&search(&app, "Trips?").await), "We go on a journey.");
    // What is deleted is not found.
    let message = app.get("/sessions/a").await.expect(200)["messages"][0].clone();
    let path = format!("/sessions/a/messages/{}", message["id"].as_str().unwrap());
    app.delete(&path).await.expect(204);
    assert_ne!(first(&search(&app, "Trips?").await), "We go on a journey.");
}

#[tokio::test]
async fn a_job_that_fails_for_good_says_why_and_can_be_retried() {
    let app = start().await;
    app.model.otherwise(|request| if request["input"].is_array() { status(401, "no") } else { echo(request) });
    append(&app, "a", "My puppy is called Rex.").await;
    for _ in 0..8 {
        app.do_jobs().await;
        app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    }
    let failed = app.get("/jobs?status=failed").await.expect(200);
    let job = &failed["data"][0];
    assert_eq!(job["kind"], "embed_new");
    assert!(job["last_error"].as_str().unwrap().contains("search.embeddings.api_key_env"), "{job}");
    // What is said meanwhile does not begin it anew.
    append(&app, "a", "He likes pizza.").await;
    let before = calls(&app);
    app.do_jobs().await;
    assert_eq!(calls(&app), before);
    app.model.otherwise(embedding(8));
    app.post(&format!("/jobs/{}/retry", job["job_id"]), json!({})).await.expect(200);
    app.do_jobs().await;
    assert_eq!(vectors(&app).await, 2);
}

#[tokio::test]
async fn one_text_that_is_refused_keeps_no_other_from_its_vector() {
    let app = start().await;
    let mut answer = embedding(8);
    app.model.otherwise(move |request| {
        let is_bad = request["input"].to_string().contains("unspeakable");
        if is_bad { status(400, "no") } else { answer(request) }
    });
    append(&app, "a", "My puppy is called Rex.").await;
    append(&app, "b", "unspeakable").await;
    app.do_jobs().await;
    assert_eq!(first(&search(&app, "Which animals?").await), "My puppy is called Rex.");
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    assert_eq!(first(&search(&app, "unspeakable").await), "unspeakable");
}

#[tokio::test]
async fn without_a_model_nothing_is_done_and_a_model_later_does_it_all() {
    let database = test_database().await;
    let app = TestApp::on(database.clone(), |_| {}).await;
    append(&app, "a", "My puppy is called Rex.").await;
    app.run(json!({"message": "A trip", "user_id": "alice", "session_id": "b"})).await.expect(200);
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    assert_eq!(count(&app, "select count(*) from unembedded_sessions").await, 0);
    assert_eq!(search(&app, "puppy").await["meta"]["vectors"], "off");
    let later = TestApp::on(database, with_embeddings).await;
    later.model.otherwise(embedding(8));
    colloquy::testing::search::vectors::start(&later.app).await.unwrap();
    later.do_jobs().await;
    assert_eq!(vectors(&later).await, 3);
}
