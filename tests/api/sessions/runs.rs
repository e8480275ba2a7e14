//! `GET /sessions/{session_id}/runs`.

use serde_json::{Value, json};

use super::{column, create};
use crate::support::{
    TestApp,
    scripted_model::{echo, status},
};

async fn runs(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/sessions/s-1/runs?{query}")).await.expect(200)
}

async fn inputs(app: &TestApp, query: &str) -> Vec<String> {
    let runs = runs(app, query).await;
    column(&runs, "run_input").into_iter().map(ToOwned::to_owned).collect()
}

/// Runs on `good`, `bad` and `well`, of which `bad` failed.
async fn three_runs() -> TestApp {
    let app = TestApp::start().await;
    app.model.otherwise(|request| {
        let last = request["messages"].as_array().and_then(|messages| messages.last());
        if last.is_some_and(|message| message["content"] == "bad") { status(400, "no") } else { echo(request) }
    });
    app.say("s-1", "good").await;
    app.run(json!({"message": "bad", "session_id": "s-1"})).await.expect_problem(502);
    app.say("s-1", "well").await;
    app
}

#[tokio::test]
async fn runs_come_in_the_order_in_which_they_were_accepted() {
    let app = three_runs().await;
    let runs = runs(&app, "").await;
    assert_eq!(column(&runs, "run_input"), ["good", "bad", "well"]);
    assert_eq!(column(&runs, "status"), ["COMPLETED", "ERROR", "COMPLETED"]);
    assert_eq!(runs.as_array().unwrap().iter().map(|run| run["seq"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(column(&runs[0]["messages"], "role"), ["user", "assistant"]);
    assert_eq!(column(&runs[1]["messages"], "content"), ["bad"]);
}

#[tokio::test]
async fn the_status_filter_takes_any_case_and_may_be_repeated() {
    let app = three_runs().await;
    assert_eq!(inputs(&app, "status=COMPLETED").await, ["good", "well"]);
    assert_eq!(inputs(&app, "status=completed").await, ["good", "well"]);
    assert_eq!(inputs(&app, "status=Error").await, ["bad"]);
    assert_eq!(inputs(&app, "status=error&status=Completed").await, ["good", "bad", "well"]);
    assert_eq!(inputs(&app, "status=running").await, [""; 0]);
    assert_eq!(inputs(&app, "status=").await, ["good", "bad", "well"]);
    let problem = app.get("/sessions/s-1/runs?status=completed&status=done").await.expect_problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("COMPLETED"), "{problem}");
}

#[tokio::test]
async fn the_bounds_of_the_creation_time_are_inclusive_to_the_second() {
    let app = three_runs().await;
    app.execute("update runs set created_at = to_timestamp(1000 * seq) + interval '0.9 s'").await;
    for (query, expected) in [
        ("created_after=2000", vec!["bad", "well"]),
        ("created_after=2001", vec!["well"]),
        ("created_before=2000", vec!["good", "bad"]),
        ("created_before=1999", vec!["good"]),
        ("created_after=2000&created_before=2000", vec!["bad"]),
        ("created_after=0&created_before=253402300799", vec!["good", "bad", "well"]),
        ("created_after=3000&created_before=2000", vec![]),
        ("created_after=1000&created_before=3000&status=completed", vec!["good", "well"]),
    ] {
        assert_eq!(inputs(&app, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_limit_keeps_the_newest_runs() {
    let app = three_runs().await;
    assert_eq!(inputs(&app, "limit=2").await, ["bad", "well"]);
    assert_eq!(inputs(&app, "limit=1&status=completed").await, ["well"]);
    for limit in ["0", "1001", "-1", "x"] {
        let problem = app.get(&format!("/sessions/s-1/runs?limit={limit}")).await.expect_problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("limit"), "{problem}");
    }
}

#[tokio::test]
async fn a_session_without_runs_has_an_empty_list() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    assert_eq!(runs(&app, "").await, json!([]));
    assert_eq!(app.get("/agents/assistant/runs?session_id=s-1").await.expect(200), json!([]));
}

#[tokio::test]
async fn an_agents_list_shows_its_runs_on_the_session_and_filters_by_status() {
    let app = three_runs().await;
    let all = app.get("/agents/assistant/runs?session_id=s-1").await.expect(200);
    assert_eq!(all, runs(&app, "").await);
    let failed = app.get("/agents/assistant/runs?session_id=s-1&status=ERROR").await.expect(200);
    assert_eq!(column(&failed, "run_input"), ["bad"]);
}
