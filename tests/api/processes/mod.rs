//! Several processes on one database, which die, are cut off, and start again.

mod cancelling;
mod clock;
mod database;
mod death;
mod listening;
mod order;
mod orphans;
mod taking_up;

use std::{io::Write, time::Duration};

use futures::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Answer, ServerEvent, TestDatabase,
    scripted_model::ScriptedModel,
    server::{self, Process, Server},
    test_database,
};

/// After this long without a sign of life a process is dead.
const LEASE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// What processes share: a database, a model, and their settings.
struct Site {
    model: ScriptedModel,
    db: PgPool,
    url: String,
    settings: tempfile::NamedTempFile,
}

impl Site {
    async fn new() -> Self {
        Self::on(test_database().await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let model = ScriptedModel::start().await;
        let mut settings = tempfile::NamedTempFile::with_suffix(".toml").expect("a temporary file");
        let toml = format!(
            "[models.fast]\nprovider = \"openai\"\nid = \"m\"\nbase_url = \"{}\"\nmax_retries = 0\n\
             [[agents]]\nid = \"assistant\"\nread_chat_history = true\n\
             [runs]\nlease = \"{} s\"\n[database]\nmax_connections = 6\n[jobs]\nworkers = 0\n",
            model.base_url(),
            LEASE.as_secs(),
        );
        settings.write_all(toml.as_bytes()).expect("it is writable");
        let db = database.pool();
        Self { model, db, url: database.url, settings }
    }

    fn command(&self, name: &str, environment: &[(&str, &str)]) -> std::process::Command {
        let mut command = server::command(&[name, "--config", self.settings.path().to_str().expect("UTF-8")]);
        command.env("DATABASE_URL", &self.url).envs(environment.iter().copied());
        command
    }

    async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    async fn serve_with(&self, environment: &[(&str, &str)]) -> Server {
        let command = self.command("serve", environment);
        tokio::task::spawn_blocking(move || Server::start(command)).await.expect("it starts")
    }

    async fn serve_twice(&self) -> (Server, Server) {
        tokio::join!(self.serve(), self.serve())
    }

    fn work(&self) -> Process {
        Process::start(self.command("work", &[]))
    }

    /// Waits until so many calls of the model have begun.
    async fn model_called(&self, times: usize) {
        until("the model is called", async || self.model.requests().len() >= times).await;
    }

    /// Waits until so many statements wait for somebody else's lock.
    async fn blocked(&self, statements: i64) {
        let query =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        until("statements wait for a lock", async || self.count(query).await >= statements).await;
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.expect("the statement runs")
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// The runs of a session, once none is under way any more.
async fn ended(server: &Server, session_id: &str) -> Vec<Value> {
    let path = format!("/sessions/{session_id}/runs");
    let mut runs: Vec<Value> = Vec::new();
    until("the session's runs have ended", async || {
        let answer = server.get(&path).await;
        if answer.status != 200 {
            return false;
        }
        runs = serde_json::from_str(&answer.text).expect("a list");
        !runs.is_empty() && runs.iter().all(|run| !["PENDING", "RUNNING"].contains(&run["status"].as_str().unwrap()))
    })
    .await;
    runs
}

/// Starts a background run, and answers with its path.
async fn in_background(server: &Server, session_id: &str) -> String {
    let body = json!({"message": "hi", "session_id": session_id, "background": true});
    let accepted = Answer::read(server.run_request(&body).send().await.unwrap()).await.expect(202);
    format!("/agents/assistant/runs/{}", accepted["run_id"].as_str().unwrap())
}

/// A stream of events that is being read.
struct Heard<S> {
    stream: S,
    text: String,
    events: Vec<ServerEvent>,
}

async fn listen(request: RequestBuilder) -> Heard<impl Stream<Item = reqwest::Result<impl AsRef<[u8]>>> + Unpin> {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    Heard { stream: Box::pin(response.bytes_stream()), text: String::new(), events: Vec::new() }
}

impl<S: Stream<Item = reqwest::Result<B>> + Unpin, B: AsRef<[u8]>> Heard<S> {
    /// The next event; `None` when the stream has ended or is cut off.
    async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = ServerEvent::parse(&block) {
                    self.events.push(event.clone());
                    return Some(event);
                }
                continue;
            }
            let next = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("something is heard");
            self.text += &String::from_utf8_lossy(next?.ok()?.as_ref());
        }
    }

    async fn hear_out(mut self) -> Vec<ServerEvent> {
        while self.next().await.is_some() {}
        self.events
    }
}

fn ids(events: &[ServerEvent]) -> Vec<i32> {
    events.iter().map(|event| event.id.parse().expect("an index")).collect()
}

/// The answer as it was said piece by piece.
fn said(events: &[ServerEvent]) -> String {
    let pieces = events.iter().filter(|event| event.name == "RunContent");
    pieces.map(|event| event.data["content"].as_str().expect("a piece")).collect()
}
