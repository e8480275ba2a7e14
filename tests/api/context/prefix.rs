//! Between two folds the prompt only grows at its end.

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{echo, reply},
};

/// A run of a few hundred characters, as people and models write them.
fn message(number: usize) -> String {
    format!("{number}. {}", "What else is there to be said about it? ".repeat(6))
}

async fn app(adds_state: bool) -> TestApp {
    let app = TestApp::with_agent(|agent| {
        agent.instructions = Some("Answer as a patient teacher who explains things from the ground up. ".repeat(20));
        agent.enable_session_summaries = true;
        agent.add_session_state_to_context = adds_state;
        agent.session_state.insert("pupil".into(), "Ann".into());
    })
    .await;
    app.model.otherwise(|request| {
        let first = request["messages"][1]["content"].as_str().unwrap_or_default();
        if first.starts_with("<previous_summary>") {
            return reply(&json!({"summary": "Ann learns. ".repeat(20), "topics": ["learning"]}).to_string());
        }
        echo(request)
    });
    app
}

/// A prompt as a provider's cache sees it: one text.
fn text(request: &Value) -> String {
    let messages = request["messages"].as_array().unwrap().iter();
    messages.fold(String::new(), |text, message| {
        text + message["role"].as_str().unwrap() + ": " + message["content"].as_str().unwrap_or_default() + "\n"
    })
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Of each pair of consecutive prompts between two folds: the common beginning, and the length of each.
async fn prefixes(adds_state: bool) -> Vec<(usize, usize, usize)> {
    let app = app(adds_state).await;
    let (mut previous, mut found) = (None::<(Value, String)>, Vec::new());
    for number in 1..=60 {
        let run = app.say("s", &message(number)).await;
        let prompt = text(app.model.requests().last().unwrap());
        app.do_jobs().await;
        let through = run["context"]["summary_through"].clone();
        if let Some((before, earlier)) = previous.replace((through.clone(), prompt.clone()))
            && before == through
        {
            found.push((common_prefix(&earlier, &prompt), earlier.len(), prompt.len()));
        }
    }
    found
}

#[tokio::test]
async fn the_whole_prompt_before_is_the_beginning_of_the_next() {
    let prefixes = prefixes(false).await;
    assert!(prefixes.len() > 40, "{}", prefixes.len());
    assert!(prefixes.iter().all(|(common, earlier, _)| common == earlier), "{prefixes:?}");
}

#[tokio::test]
async fn what_stood_beside_an_earlier_message_costs_the_cache_little() {
    let prefixes = prefixes(true).await;
    let settled: Vec<_> = prefixes.iter().filter(|(_, earlier, _)| *earlier > 5_000).collect();
    assert!(settled.len() > 30, "{}", settled.len());
    let (common, earlier): (usize, usize) =
        settled.iter().fold((0, 0), |(common, earlier), it| (common + it.0, earlier + it.1));
    assert!(common * 100 > earlier * 90, "{common} of {earlier}");
}
