//! What an embedding service is asked, and what is told of its failures, by the real process.

use std::{io::Write, time::Duration};

use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::support::{
    scripted_model::{Behaviour, ScriptedModel, echo, status},
    server::{self, Server},
    test_database,
};

const KEY: &str = "sk-hunter2";
const TEXT: &str = "My xylophone is called Rex.";
const QUESTION: &str = "What is the marimba called?";

/// Knows the word that every model is tried with, and refuses all others, quoting whatever it should not.
fn refuse(request: &Value) -> Behaviour {
    match &request["input"] {
        Value::Null => echo(request),
        texts if *texts == json!(["word"]) => {
            Behaviour::Raw(json!({"data": [{"index": 0, "embedding": [0.6, 0.8]}]}).to_string())
        }
        texts => status(400, &format!("{KEY} may not ask about {texts}")),
    }
}

async fn start(model: &ScriptedModel) -> Server {
    let url = model.base_url();
    let toml = format!(
        "[models.fast]\nprovider = \"openai\"\nid = \"m\"\nbase_url = \"{url}\"\n[search.embeddings]\n\
         provider = \"openai\"\nid = \"small\"\nbase_url = \"{url}\"\ndimensions = 2\n"
    );
    let mut settings = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    settings.write_all(toml.as_bytes()).unwrap();
    let mut command = server::command(&["serve", "--config", settings.path().to_str().unwrap()]);
    command
        .env("DATABASE_URL", test_database().await.url)
        .env("OPENAI_API_KEY", KEY)
        .env("RUST_LOG", "colloquy=trace,info");
    let server = tokio::task::spawn_blocking(move || Server::start(command)).await.unwrap();
    drop(settings);
    server
}

#[tokio::test]
async fn it_is_asked_as_documented_and_its_failures_tell_neither_key_nor_text() {
    let model = ScriptedModel::start().await;
    model.otherwise(refuse);
    let server = start(&model).await;
    let body = json!({"user_id": "alice", "messages": [{"role": "user", "content": TEXT}]});
    server.post("/sessions/a/messages", body).await.expect(201);
    let done = async {
        while !model.recorded().iter().any(|call| call.body["input"] == json!([TEXT]))
            || server.get("/jobs").await.expect(200)["data"] != json!([])
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), done).await.expect("the job is done without the text");
    let found =
        server.post("/search", json!({"query": QUESTION, "user_id": "alice", "explain": true})).await.expect(200);
    assert_eq!(found["meta"]["vectors"], "unavailable");

    let calls = model.recorded();
    let asked = calls.iter().find(|call| call.body["input"] == json!([QUESTION])).unwrap();
    assert_eq!(asked.path, "/v1/embeddings");
    assert_eq!(asked.headers[AUTHORIZATION], format!("Bearer {KEY}"));
    let documented = json!({"model": "small", "input": [QUESTION], "encoding_format": "float", "dimensions": 2});
    assert_eq!(asked.body, documented);

    let log = tokio::task::spawn_blocking(move || server.kill_for_its_log()).await.unwrap();
    for told in ["A text is refused", "A question has no vector"] {
        assert!(log.contains(told), "{log}");
    }
    for secret in [KEY, "xylophone", "marimba"] {
        assert!(!log.contains(secret), "{log}");
    }
}
