//! Rolling summaries: when they are made, what is refused, and what never breaks.

mod answers;
mod copies;
mod endpoints;
mod events;
mod folding;
mod invariants;
mod races;

use colloquy::testing::config::{AgentSettings, HistoryOverrides};
use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Behaviour, echo, reply},
};

/// Small limits, so that a few runs fill them: a run of [`talk`] takes about 60 tokens.
fn summarizing(agent: &mut AgentSettings) {
    agent.enable_session_summaries = true;
    agent.history = HistoryOverrides {
        high_tokens: Some(300),
        low_tokens: Some(100),
        max_tokens: Some(600),
        ..HistoryOverrides::default()
    };
}

async fn summarizing_app() -> TestApp {
    let app = TestApp::with_agent(summarizing).await;
    app.model.otherwise(summarize_or_echo);
    app
}

fn is_fold(request: &Value) -> bool {
    let text = request["messages"][1]["content"].as_str().unwrap_or_default();
    text.starts_with("<previous_summary>")
}

/// Summarizes by listing the marks (`#1`, `#2` and so on) that it is shown, so that a summary says what it covers.
fn summarize_or_echo(request: &Value) -> Behaviour {
    if !is_fold(request) {
        // The summary before a message is none of what was said.
        let mut request = request.clone();
        if let Some(last) = request["messages"].as_array_mut().and_then(|messages| messages.last_mut())
            && let Some((_, said)) = last["content"].as_str().and_then(|text| text.split_once("</session_summary>\n\n"))
        {
            last["content"] = said.into();
        }
        return echo(&request);
    }
    // Answers and tools' results may quote what was said in other runs.
    let shown = request["messages"][1]["content"].as_str().unwrap().lines();
    let marks = marks(
        &shown.filter(|line| line.starts_with("<user>") || !line.starts_with('<')).collect::<Vec<_>>().join("\n"),
    );
    reply(&json!({"summary": marks.join(" "), "topics": ["marks"]}).to_string())
}

/// The marks in a text, in order, each once.
fn marks(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '#');
    let mut marks: Vec<String> = words.filter(|word| word.starts_with('#')).map(str::to_owned).collect();
    marks.dedup();
    marks
}

/// Says something of some length that bears a mark.
async fn talk(app: &TestApp, session: &str, number: usize) -> Value {
    app.say(session, &message(number)).await
}

fn message(number: usize) -> String {
    format!("#{number} {}", "and some more words ".repeat(5))
}

/// The requests for summaries that the model has got.
fn folds(app: &TestApp) -> Vec<Value> {
    app.model.requests().into_iter().filter(is_fold).collect()
}

async fn boundary(app: &TestApp, session: &str) -> (i64, i64) {
    sqlx::query_as("select summary_through, unfolded_tokens from sessions where session_id = $1")
        .bind(session)
        .fetch_one(app.db())
        .await
        .unwrap()
}
