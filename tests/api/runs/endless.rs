//! Runs whose model never comes to an end: the deadline, a cancel and a stop hold all the same.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{Behaviour, Flood, reply_with_tool_call},
};

/// How long an end may take on a busy machine. The floods would go on for ever.
const SOON: Duration = Duration::from_secs(3);
const EVENTS: &str = "text/event-stream";

/// Bodies that come as fast as they are read: what begins no event, keeps one open, or says nothing again and again.
fn floods() -> [Flood; 4] {
    let open = r#"data: {"choices":[{"index":0,"delta":{"content":""#;
    [
        Flood::new(EVENTS, "", &"data: {\"choices\":[]}\n\n".repeat(1_000)),
        Flood::new(EVENTS, "", &": still thinking\n\n".repeat(1_000)),
        Flood::new(EVENTS, open, "a").slowly(Duration::from_millis(10)),
        Flood::new(EVENTS, open, &"a".repeat(64 * 1024)),
    ]
}

async fn app(deadline: Duration) -> TestApp {
    TestApp::with(|settings| settings.runs.deadline = deadline).await
}

async fn ended(app: &TestApp) -> Value {
    let waiting = async {
        loop {
            let runs = app.get("/sessions/s/runs").await.expect(200);
            if let Some(run) = runs.as_array().unwrap().last().filter(|run| run["status"] != "RUNNING") {
                return run.clone();
            }
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("the run ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_holds_whatever_a_provider_sends() {
    let deadline = Duration::from_millis(500);
    let app = app(deadline).await;
    for (number, flood) in (1..).zip(floods()) {
        app.model.then(Behaviour::Flood(flood.clone()));
        let started = Instant::now();
        let events = app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await.events();
        let took = started.elapsed();
        let error = &events.last().unwrap().data;
        let kind = error["error_type"].as_str().unwrap();
        assert!(["deadline_exceeded", "answer_too_long"].contains(&kind), "{number}: {error}");
        assert!(took < deadline + SOON, "{number}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_holds_for_answers_that_come_whole() {
    let deadline = Duration::from_millis(500);
    let app = app(deadline).await;
    for piece in [" ", "a"] {
        let flood = Flood::new("application/json", "{\"choices\":[{\"message\":{\"content\":\"", piece);
        app.model.then(Behaviour::Flood(flood.slowly(Duration::from_millis(10))));
        let started = Instant::now();
        let problem = app.run(json!({"message": "hi", "session_id": "s"})).await.expect_problem(504);
        assert_eq!(problem["error_type"], "deadline_exceeded");
        assert!(started.elapsed() < deadline + SOON, "{:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_takes_effect_while_a_flood_arrives() {
    let app = app(Duration::from_mins(5)).await;
    for flood in floods().into_iter().take(3) {
        app.model.then(Behaviour::Flood(flood.clone()));
        let request = app.request(Method::POST, "/agents/assistant/runs");
        let response = request.json(&json!({"message": "hi", "session_id": "s", "stream": true})).send().await.unwrap();
        // Not before the flood has begun.
        while flood.sent() < 30 {
            tokio::task::yield_now().await;
        }
        let runs = app.get("/sessions/s/runs").await.expect(200);
        let run_id = runs.as_array().unwrap().last().unwrap()["run_id"].as_str().unwrap().to_owned();
        app.post(&format!("/agents/assistant/runs/{run_id}/cancel"), json!({})).await.expect(200);
        assert_eq!(ended(&app).await["status"], "CANCELLED");
        drop(response);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_leaves_a_run_that_ends() {
    let deadline = Duration::from_secs(1);
    let app = app(deadline).await;
    let [flood, ..] = floods();
    app.model.then(Behaviour::Flood(flood));
    let request = app.request(Method::POST, "/agents/assistant/runs").timeout(Duration::from_millis(300));
    let body = json!({"message": "hi", "session_id": "s", "stream": true});
    let heard = async { request.json(&body).send().await?.bytes().await };
    assert!(heard.await.unwrap_err().is_timeout());
    assert_eq!(ended(&app).await["error"]["type"], "deadline_exceeded");
}

#[tokio::test]
async fn arguments_of_megabytes_end_the_run_at_once() {
    let app = app(Duration::from_secs(30)).await;
    let arguments = json!({"text": "a".repeat(3 * 1024 * 1024)}).to_string();
    app.model.otherwise(move |_| reply_with_tool_call("anything", &arguments));
    for stream in [false, true] {
        app.run(json!({"message": "hi", "session_id": "s", "stream": stream})).await;
        assert_eq!(ended(&app).await["error"]["type"], "answer_too_long");
    }
    assert_eq!(app.model.requests().len(), 2, "the model is asked once a run");
}
