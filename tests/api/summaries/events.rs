//! Waiting for the summary, or not.

use serde_json::{Value, json};

use super::{folds, is_fold, message, summarize_or_echo, summarizing, summarizing_app, talk};
use crate::support::{
    TestApp,
    scripted_model::{Gate, echo, held, status},
};

fn waiting(number: usize, stream: bool) -> Value {
    json!({"message": message(number), "session_id": "s", "wait_for_background": true, "stream": stream})
}

#[tokio::test]
async fn the_events_of_the_summary_come_before_the_end_of_the_run_that_waits_for_it() {
    let app = summarizing_app().await;
    let mut names = Vec::new();
    let mut last = Value::Null;
    for number in 1..=6 {
        let events = app.run(waiting(number, true)).await.events();
        last = events.iter().find(|event| event.name == "SessionSummaryCompleted").unwrap().data.clone();
        names = events.into_iter().map(|event| event.name).collect();
    }
    assert_eq!(
        names[names.len() - 4..],
        ["RunContentCompleted", "SessionSummaryStarted", "SessionSummaryCompleted", "RunCompleted"]
    );
    assert_eq!(folds(&app).len(), 1);
    let summary = &last["session_summary"];
    assert!(summary["summary"].as_str().unwrap().starts_with("#1 #2"), "{last}");
    assert_eq!(summary["topics"], json!(["marks"]));
    app.do_jobs().await;
    assert_eq!(folds(&app).len(), 1, "the job finds it done");
}

#[tokio::test]
async fn a_form_can_wait_too_and_an_answer_in_one_piece_does() {
    let app = summarizing_app().await;
    let text = message(1);
    let fields = [("message", text.as_str()), ("session_id", "s"), ("wait_for_background", "true")];
    let events = app.post_form("/agents/assistant/runs", &fields).await.events();
    let completed = events.iter().find(|event| event.name == "SessionSummaryCompleted").unwrap();
    assert!(completed.data.get("session_summary").is_none(), "there is none yet: {}", completed.data);
    for number in 2..=6 {
        app.run(waiting(number, false)).await.expect(200);
    }
    assert_eq!(folds(&app).len(), 1);
    assert!(app.get("/sessions/s").await.expect(200)["summary"].is_string());
}

#[tokio::test]
async fn the_events_can_be_read_again_in_the_same_order() {
    let app = summarizing_app().await;
    let events = app.run(waiting(1, true)).await.events();
    let run_id = events[0].data["run_id"].as_str().unwrap().to_owned();
    let again = app.get(&format!("/agents/assistant/runs/{run_id}/events")).await.events();
    let told = |events: &[crate::support::ServerEvent]| -> Vec<(String, String)> {
        events.iter().map(|event| (event.id.clone(), event.name.clone())).collect()
    };
    assert_eq!(told(&again), told(&events));
}

#[tokio::test]
async fn no_run_waits_for_a_summary_that_it_did_not_ask_to_wait_for() {
    let app = TestApp::with_agent(summarizing).await;
    let gate = Gate::closed();
    let never = gate.clone();
    app.model.otherwise(move |request| {
        let behaviour = summarize_or_echo(request);
        if is_fold(request) { held(&never, behaviour) } else { behaviour }
    });
    let runs = async {
        for number in 1..=12 {
            talk(&app, "s", number).await;
        }
        let events = app.run(json!({"message": "more", "session_id": "s", "stream": true})).await.events();
        assert!(events.iter().all(|event| !event.name.starts_with("SessionSummary")));
        assert_eq!(events.last().unwrap().name, "RunCompleted");
    };
    let work = async {
        app.post("/sessions/s/summarize", json!({})).await;
    };
    // The runs end while a fold is held; only then may it end.
    let opened = async {
        runs.await;
        gate.open();
    };
    app.say("s", "first").await;
    tokio::join!(opened, work);
}

#[tokio::test]
async fn a_summary_that_fails_costs_the_waiting_run_nothing_but_time() {
    let app = TestApp::with_agent(summarizing).await;
    app.model.otherwise(|request| if is_fold(request) { status(500, "down") } else { echo(request) });
    for number in 1..=6 {
        let run = app.run(waiting(number, false)).await.expect(200);
        assert_eq!(run["status"], "COMPLETED");
    }
    assert!(!folds(&app).is_empty());
    let jobs = app.get("/jobs").await.expect(200);
    assert_eq!(jobs["data"][0]["kind"], "fold_session", "its job is still there: {jobs}");
}
