//! Conversations: made, found, read, named, deleted.

mod copies;
mod counts;
mod create;
mod delete;
mod edit;
mod filters;
mod get;
mod idempotency;
mod list;
mod paging;
mod parts;
mod plans;
mod rename;
mod retention;
mod runs;

use std::{future::Future, sync::mpsc};

use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::{Answer, TestApp, scripted_model::echo};

/// Creates a session and answers what the server says of it.
async fn create(app: &TestApp, body: Value) -> Value {
    app.post("/sessions", body).await.expect(201)
}

async fn list(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/sessions?{query}")).await.expect(200)
}

async fn get(app: &TestApp, session_id: &str) -> Value {
    app.get(&format!("/sessions/{session_id}")).await.expect(200)
}

async fn rename(app: &TestApp, session_id: &str, name: &str) -> Answer {
    app.post(&format!("/sessions/{session_id}/rename"), serde_json::json!({ "session_name": name })).await
}

/// Deletes several sessions: `DELETE /sessions`.
async fn delete_many(app: &TestApp, query: &str, body: Value) -> Answer {
    app.send(app.request(Method::DELETE, &format!("/sessions{query}")).json(&body)).await
}

/// What a key holds in each item of a list, in order.
fn column<'a>(items: &'a Value, key: &str) -> Vec<&'a str> {
    let items = items.as_array().expect("a list");
    items.iter().map(|item| item[key].as_str().unwrap_or_default()).collect()
}

/// The ids of a page of sessions, in order.
fn ids(page: &Value) -> Vec<&str> {
    column(&page["data"], "session_id")
}

/// How many rows there are in all tables: sessions, runs, messages, costs.
async fn rows(app: &TestApp) -> (i64, i64, i64, i64) {
    sqlx::query_as(
        "select (select count(*) from sessions), (select count(*) from runs), (select count(*) from messages),
                (select count(*) from sessions, jsonb_object_keys(usage))",
    )
    .fetch_one(app.db())
    .await
    .expect("the tables can be counted")
}

/// A model that has been asked and answers when it is let go.
struct HeldModel {
    asked: UnboundedReceiver<()>,
    let_go: mpsc::Sender<()>,
}

/// Holds the model's next answer, and with it the run. Needs a runtime with several threads.
fn hold_model(app: &TestApp) -> HeldModel {
    let (tell, asked) = unbounded_channel();
    let (let_go, gone) = mpsc::channel();
    app.model.otherwise(move |request| {
        // Nobody listens any more, or nobody holds: then it just answers.
        let _ = tell.send(());
        let _ = tokio::task::block_in_place(|| gone.recv());
        echo(request)
    });
    HeldModel { asked, let_go }
}

impl HeldModel {
    /// Does `work` while the run waits for the model's answer, then lets it have it.
    async fn meanwhile<T>(mut self, work: impl Future<Output = T>) -> T {
        self.asked.recv().await.expect("the model is asked");
        let result = work.await;
        drop(self.let_go);
        result
    }
}
