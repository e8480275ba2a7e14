//! What goes into a prompt: the layout that caches like, the limits, and the view of it.

mod limits;
mod prefix;
mod titles;
mod view;

use serde_json::Value;

use crate::support::TestApp;

/// The messages that the model was sent last.
fn last_prompt(app: &TestApp) -> Vec<Value> {
    app.model.requests().last().expect("the model was called")["messages"].as_array().expect("messages").clone()
}

fn texts(prompt: &[Value]) -> Vec<&str> {
    prompt.iter().map(|message| message["content"].as_str().unwrap_or_default()).collect()
}
