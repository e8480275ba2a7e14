//! What is known of users: told, learned, found, replaced, erased.

mod learned;
mod set_aside;
mod sources;
mod tidied;
mod told;
mod tools;

use serde_json::{Value, json};

use crate::support::TestApp;

/// Tells a memory over the API.
async fn tell(app: &TestApp, user: &str, memory: &str) -> Value {
    app.post("/memories", json!({"user_id": user, "memory": memory})).await.expect(200)
}

/// What is known of a user, the last changed last.
async fn known(app: &TestApp, user: &str) -> Vec<String> {
    let page = app.get(&format!("/memories?user_id={user}&sort_order=asc&limit=100")).await.expect(200);
    let memories = page["data"].as_array().expect("a list");
    memories.iter().map(|memory| memory["memory"].as_str().unwrap_or_default().to_owned()).collect()
}

fn id(memory: &Value) -> &str {
    memory["memory_id"].as_str().expect("an id")
}
