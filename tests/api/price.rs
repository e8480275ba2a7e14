//! What background work may cost when its model is of no use.

use std::time::Duration;

use colloquy::testing::config::{HistoryOverrides, Settings};
use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Behaviour, echo, hang, reply, status},
};

const TURNS_PER_SESSION: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Memory,
    Summary,
    Title,
}

const KINDS: [Work; 3] = [Work::Memory, Work::Summary, Work::Title];

/// `None`: it is a run.
fn work(request: &Value) -> Option<Work> {
    let text = request["messages"].to_string();
    let marks = [("<remembered>", Work::Memory), ("<previous_summary>", Work::Summary), ("You name conv", Work::Title)];
    marks.into_iter().find_map(|(mark, work)| text.contains(mark).then_some(work))
}

fn all_work(settings: &mut Settings) {
    let agent = &mut settings.agents[0];
    agent.update_memory_on_run = true;
    agent.enable_session_summaries = true;
    agent.auto_title = true;
    agent.history = HistoryOverrides {
        high_tokens: Some(150),
        low_tokens: Some(50),
        max_tokens: Some(600),
        max_runs: None,
        max_message_tokens: None,
    };
    // Who waits longer for a model that hangs learns no more of it.
    settings.models.get_mut("fast").unwrap().timeout = Duration::from_millis(200);
}

/// A user says something so often; the background work is tried at once each time, as if its pauses were over.
async fn app_after(turns: usize, model_pause: Duration, answer: fn(usize) -> Behaviour) -> TestApp {
    let app = TestApp::with(|settings| {
        all_work(settings);
        settings.jobs.model_pause = model_pause;
    })
    .await;
    // Each kind of work is counted by itself: which of them comes first is chance.
    let mut counts = KINDS.map(|_| 0);
    app.model.otherwise(move |request| {
        let Some(work) = work(request) else { return echo(request) };
        counts[work as usize] += 1;
        answer(counts[work as usize])
    });
    for number in 0..turns {
        let session = format!("s{}", number / TURNS_PER_SESSION);
        let message = format!("I like tea number {number} {}", "and some more words ".repeat(5));
        app.run(json!({"message": message, "session_id": session, "user_id": "alice"})).await.expect(200);
        try_jobs(&app).await;
    }
    for _ in 0..4 {
        try_jobs(&app).await;
    }
    app
}

async fn try_jobs(app: &TestApp) {
    app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    app.do_jobs().await;
}

fn calls(app: &TestApp) -> [usize; 3] {
    let asked: Vec<Work> = app.model.requests().iter().filter_map(work).collect();
    KINDS.map(|kind| asked.iter().filter(|work| **work == kind).count())
}

/// A useless model is asked no more per turn the more turns there are.
async fn the_price_of(model_pause: Duration, answer: fn(usize) -> Behaviour) {
    let few = calls(&app_after(6, model_pause, answer).await);
    let many = calls(&app_after(18, model_pause, answer).await);
    for (index, work) in KINDS.into_iter().enumerate() {
        assert!(many[index] <= 3 * few[index] + 24, "{work:?} grew from {few:?} to {many:?}");
    }
    // Two answers for each of three attempts.
    assert!(many[0] <= 6 * 18 && many[1] <= 6 * 2 && many[2] <= 6 * 2, "{many:?}");
}

const PAUSE: Duration = Duration::from_secs(30);
/// The breaker lets everything through, so that the attempts alone bound the price.
const NO_PAUSE: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_model_that_answers_garbage_has_a_price_limit() {
    the_price_of(PAUSE, |_| reply("I would rather talk about the weather.")).await;
    the_price_of(NO_PAUSE, |_| reply("I would rather talk about the weather.")).await;
}

#[tokio::test]
async fn a_model_that_answers_nothing_or_in_another_shape_has_a_price_limit() {
    the_price_of(PAUSE, |_| reply("")).await;
    the_price_of(NO_PAUSE, |_| reply(r#"{"memories": ["tea"], "headline": "Tea", "text": "They talked."}"#)).await;
}

#[tokio::test]
async fn a_model_that_fails_or_refuses_has_a_price_limit() {
    the_price_of(PAUSE, |_| status(500, "out of order")).await;
    the_price_of(PAUSE, |_| status(400, "no")).await;
}

#[tokio::test]
async fn a_model_that_never_answers_has_a_price_limit() {
    the_price_of(PAUSE, |_| hang()).await;
}

#[tokio::test]
async fn a_model_that_answers_every_other_time_has_a_price_limit() {
    let answer = |count: usize| if count % 4 < 2 { reply("no") } else { reply(r#"{"operations": []}"#) };
    the_price_of(NO_PAUSE, answer).await;
}

#[tokio::test]
async fn a_model_that_fails_at_everybody_costs_nobody_an_attempt() {
    let app = TestApp::with_agent(|agent| agent.update_memory_on_run = true).await;
    app.model.otherwise(|request| if work(request).is_none() { echo(request) } else { status(500, "out of order") });
    for turn in 0..4 {
        for user in 0..6 {
            let body = json!({"message": format!("I like tea {turn}"), "user_id": format!("user-{user}")});
            app.run(body).await.expect(200);
        }
        try_jobs(&app).await;
    }
    assert_eq!(calls(&app)[0], 3, "then the model is left alone");
    let attempts = "select coalesce(sum(attempts), 0)::bigint from memory_turns";
    let burnt: i64 = sqlx::query_scalar(attempts).fetch_one(app.db()).await.unwrap();
    assert!(burnt <= 2, "{burnt}");
    let jobs = app.get("/jobs").await.expect(200)["data"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 6);
    for job in jobs {
        assert_eq!((&job["status"], &job["attempts"]), (&json!("waiting"), &json!(0)), "{job}");
        let error = job["last_error"].as_str().unwrap();
        assert!(
            error.contains("cannot be reached") && !error.contains("out of order") && !error.contains("TaskError"),
            "{error}"
        );
    }
}
