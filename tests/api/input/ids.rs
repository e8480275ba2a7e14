//! Ids in bodies, queries and paths.

use reqwest::Method;
use serde_json::json;

use super::{RUNS, app_with_a_session, assert_untouched, percent, refused, refused_body, refused_get};

#[tokio::test]
async fn an_id_that_is_too_long_empty_or_has_control_characters_is_refused_in_a_body() {
    let app = app_with_a_session().await;
    let long = "x".repeat(10_000);
    for (id, mentions) in [(long.as_str(), "255"), ("", "empty"), ("a\nb", "control"), ("a\u{7f}", "control")] {
        for field in ["session_id", "user_id"] {
            refused_body(&app, RUNS, json!({"message": "Hi", field: id}), 422, mentions).await;
            refused_body(&app, "/sessions", json!({field: id}), 422, mentions).await;
        }
        refused_body(&app, "/sessions", json!({"agent_id": id}), 422, mentions).await;
        let many = app.request(Method::DELETE, "/sessions").json(&json!({"session_ids": ["s-1", id]}));
        refused(&app, many, 422, mentions).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn an_id_that_cannot_be_one_is_refused_in_a_query() {
    let app = app_with_a_session().await;
    for (id, mentions) in [("x".repeat(10_000), "255"), ("%0A".into(), "character"), ("%00".into(), "character")] {
        for path in ["/sessions", "/sessions/s-1", "/sessions/s-1/runs"] {
            refused_get(&app, &format!("{path}?user_id={id}"), 422, mentions).await;
        }
        refused_get(&app, &format!("{RUNS}?session_id={id}"), 422, mentions).await;
        refused(&app, app.request(Method::DELETE, &format!("/sessions/s-1?user_id={id}")), 422, mentions).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn an_id_that_cannot_be_one_names_nothing_in_a_path() {
    let app = app_with_a_session().await;
    for id in ["x".repeat(300), "%0A".into(), "a%00b".into(), "%FF".into(), percent("\u{7f}")] {
        refused_get(&app, &format!("/sessions/{id}"), 404, "").await;
        refused_get(&app, &format!("/sessions/{id}/runs"), 404, "").await;
        refused_get(&app, &format!("/agents/{id}"), 404, "").await;
        refused_get(&app, &format!("/agents/assistant/runs/{id}"), 404, "").await;
        refused_body(&app, &format!("/sessions/{id}/rename"), json!({"session_name": "N"}), 404, "").await;
        refused_body(&app, &format!("/agents/{id}/runs"), json!({"message": "Hi"}), 404, "").await;
        refused(&app, app.request(Method::DELETE, &format!("/sessions/{id}")), 404, "").await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_long_id_in_a_path_names_nothing_and_is_not_repeated_in_full() {
    let app = app_with_a_session().await;
    let id = "x".repeat(10_000);
    refused_get(&app, &format!("/sessions/{id}"), 404, "").await;
    refused_body(&app, &format!("/sessions/{id}/rename"), json!({"session_name": "N"}), 404, "").await;
    refused_get(&app, &format!("/agents/{id}"), 404, "").await;
    refused_body(&app, &format!("/agents/{id}/runs"), json!({"message": "Hi"}), 404, "").await;
    refused_get(&app, &format!("{RUNS}/{id}"), 404, "").await;
    refused_get(&app, &format!("/nowhere/{id}"), 404, "").await;
    refused_get(&app, &format!("/sessions?db_id={id}"), 404, "").await;
    refused_get(&app, &format!("/sessions/s-1/runs?status={id}"), 400, "").await;
    refused_get(&app, &format!("/sessions?type={id}"), 422, "").await;
    refused_body(&app, RUNS, json!({"message": "Hi", id.as_str(): 1}), 422, "").await;
}

#[tokio::test]
async fn an_unknown_agent_or_run_is_not_found() {
    let app = app_with_a_session().await;
    refused_body(&app, "/agents/nobody/runs", json!({"message": "Hi"}), 404, "agent").await;
    refused_get(&app, "/agents/nobody", 404, "agent").await;
    refused_get(&app, "/agents/nobody/runs?session_id=s-1", 404, "agent").await;
    let run = "01a206c1-4b42-72a9-b242-a016793c2551";
    refused_get(&app, &format!("/agents/nobody/runs/{run}"), 404, "agent").await;
    refused_get(&app, &format!("{RUNS}/{run}"), 404, "run").await;
    refused_get(&app, &format!("{RUNS}/not-a-uuid"), 404, "").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_run_is_not_found_under_another_session() {
    let app = app_with_a_session().await;
    let run_id = app.say("s-2", "Hello").await["run_id"].as_str().unwrap().to_owned();
    app.get(&format!("{RUNS}/{run_id}?session_id=s-2")).await.expect(200);
    refused_get(&app, &format!("{RUNS}/{run_id}?session_id=s-1"), 404, "run").await;
}
