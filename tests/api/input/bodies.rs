//! JSON bodies.

use reqwest::Method;
use serde_json::json;

use super::{RUNS, SMALL_LIMIT, app_with_a_session, assert_untouched, raw, refused, refused_body};
use crate::support::TestApp;

#[tokio::test]
async fn a_run_with_a_wrong_field_is_refused() {
    let app = app_with_a_session().await;
    for (body, mentions) in [
        (json!({}), "message is missing"),
        (json!({"message": ""}), "message is empty"),
        (json!({"message": null}), "message"),
        (json!({"message": 7}), "message"),
        (json!({"message": ["Hi"]}), "message"),
        (json!({"message": "Hi", "mesage": "Hi"}), "mesage"),
        (json!({"message": "Hi", "run_id": "01a206c1-4b42-72a9-b242-a016793c2551"}), "run_id"),
        (json!({"message": "Hi", "stream": "yes"}), "stream"),
        (json!({"message": "Hi", "session_state": [1]}), "session_state"),
        (json!({"message": "Hi", "session_state": "{}"}), "session_state"),
        (json!({"message": "Hi", "metadata": 1}), "metadata"),
        (json!({"message": "Hi", "num_history_runs": -1}), "num_history_runs"),
        (json!({"message": "Hi", "num_history_runs": 1001}), "1000"),
        (json!({"message": "Hi", "num_history_runs": 1.5}), "num_history_runs"),
        (json!({"message": "Hi", "user_id": 1}), "user_id"),
        (json!("Hi"), "body"),
        (json!(null), "body"),
    ] {
        refused_body(&app, RUNS, body, 422, mentions).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn an_error_points_at_the_field() {
    let app = TestApp::start().await;
    let request = app.request(Method::POST, RUNS).json(&json!({"message": "Hi", "metadata": {"a/b": ["\0"]}}));
    let problem = refused(&app, request, 422, "NUL").await;
    assert_eq!(problem["errors"][0]["pointer"], "/metadata/a~1b/0");
    let request = app.request(Method::POST, RUNS).json(&json!({"stream": true}));
    assert_eq!(refused(&app, request, 422, "missing").await["errors"][0]["pointer"], "/message");
    let request = app.request(Method::DELETE, "/sessions").json(&json!({"session_ids": ["ok", ""]}));
    assert_eq!(refused(&app, request, 422, "empty").await["errors"][0]["pointer"], "/session_ids/1");
}

#[tokio::test]
async fn a_session_with_a_wrong_field_is_refused() {
    let app = app_with_a_session().await;
    for (body, mentions) in [
        (json!({"name": "N"}), "name"),
        (json!({"session_name": 1}), "session_name"),
        (json!({"session_name": "x".repeat(501)}), "500"),
        (json!({"session_state": [1]}), "session_state"),
        (json!({"metadata": "m"}), "metadata"),
        (json!({"agent_id": ""}), "agent_id"),
        (json!("s-1"), "body"),
    ] {
        refused_body(&app, "/sessions", body, 422, mentions).await;
    }
    for (body, mentions) in [
        (json!({}), "session_name"),
        (json!({"session_name": null}), "session_name"),
        (json!({"session_name": "x".repeat(501)}), "500"),
        (json!({"session_name": "N", "metadata": {}}), "metadata"),
    ] {
        refused_body(&app, "/sessions/s-1/rename", body, 422, mentions).await;
    }
    let too_many: Vec<_> = (0..1001).map(|number| number.to_string()).collect();
    for (body, mentions) in [
        (json!({}), "session_ids"),
        (json!({"session_ids": []}), "1 to 1000"),
        (json!({"session_ids": too_many}), "1 to 1000"),
        (json!({"session_ids": "s-1"}), "session_ids"),
        (json!({"session_ids": ["s-1"], "session_types": ["robot"]}), "session_types"),
        (json!({"session_ids": ["s-1"], "sure": true}), "sure"),
        (json!({"session_ids": ["s-1"], "filter": {"type": "agent"}}), "one of them"),
        (json!({"session_ids": ["s-1"], "dry_run": true}), "dry_run"),
        (json!({"filter": {}}), "filter leaves nothing out"),
        (json!({"filter": {"archived": "all"}}), "filter leaves nothing out"),
        (json!({"filter": {"q": ""}}), "is empty"),
        (json!({"filter": {"archived": "maybe"}}), "archived"),
        (json!({"filter": {"nonsense": 1}}), "nonsense"),
        (json!({"filter": {"metadata": {"a": {"b": 1}}}}), "metadata"),
        (json!({"filter": {"start_timestamp": "soon"}}), "start_timestamp"),
        (json!({"filter": {"start_timestamp": 2, "end_timestamp": 1}}), "end_timestamp"),
        (json!({"filter": {"type": "agent"}, "session_types": ["agent"]}), "filter.type"),
    ] {
        refused(&app, app.request(Method::DELETE, "/sessions").json(&body), 422, mentions).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_list_is_no_object() {
    let app = app_with_a_session().await;
    refused_body(&app, RUNS, json!(["Hi"]), 422, "object").await;
    refused_body(&app, "/sessions", json!([]), 422, "object").await;
    refused_body(&app, "/sessions/s-1/rename", json!(["N"]), 422, "object").await;
    refused(&app, app.request(Method::DELETE, "/sessions").json(&json!([["s-1"]])), 422, "object").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_nul_character_is_refused_wherever_it_is() {
    let app = app_with_a_session().await;
    for field in [
        json!({"message": "a\0b"}),
        json!({"message": "Hi", "metadata": {"k": {"deep": ["\0"]}}}),
        json!({"message": "Hi", "metadata": {"k\0": 1}}),
        json!({"message": "Hi", "session_state": {"k\0": 1}}),
        json!({"message": "Hi", "session_state": {"k": "\0"}}),
    ] {
        refused_body(&app, RUNS, field, 422, "NUL").await;
    }
    for field in [json!({"session_name": "\0"}), json!({"session_state": {"\0": 1}}), json!({"metadata": {"a": "\0"}})]
    {
        refused_body(&app, "/sessions", field, 422, "NUL").await;
    }
    refused_body(&app, "/sessions/s-1/rename", json!({"session_name": "a\0"}), 422, "NUL").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn json_that_nests_too_deep_is_refused() {
    let app = app_with_a_session().await;
    for levels in [64, 120, 500, 100_000] {
        let (open, close) = ("{\"a\":".repeat(levels), "}".repeat(levels));
        let deep = format!(r#"{{"message": "Hi", "metadata": {open}1{close}}}"#);
        refused(&app, raw(&app, RUNS, "application/json", deep.as_bytes()), 422, "64 levels").await;
    }
}

#[tokio::test]
async fn what_is_not_json_cannot_be_read() {
    let app = app_with_a_session().await;
    for body in [
        &b""[..],
        b"{",
        b"{\"message\": \"Hi\"",
        b"{\"message\": \"Hi\"} trailing",
        b"{\"message\": \"Hi\",}",
        b"{\"message\": \"\\ud800\"}",
        b"{\"message\": \"\xff\"}",
        b"{\"message\": \"Hi\", \"metadata\": {\"n\": 1e999}}",
        b"\xef\xbb\xbf",
        b"<xml/>",
    ] {
        refused(&app, raw(&app, RUNS, "application/json", body), 400, "JSON").await;
    }
    refused(&app, raw(&app, "/sessions", "application/json", "{"), 400, "JSON").await;
    refused(&app, raw(&app, "/sessions/s-1/rename", "application/json", "{"), 400, "JSON").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn another_media_type_is_refused_with_the_one_to_use() {
    let app = app_with_a_session().await;
    let body = r#"{"message": "Hi", "session_name": "N"}"#;
    for content_type in ["text/plain", "application/octet-stream", "nonsense", "application/xml; charset=utf-8"] {
        for path in [RUNS, "/sessions", "/sessions/s-1/rename"] {
            refused(&app, raw(&app, path, content_type, body), 415, "application/json").await;
        }
    }
    for path in [RUNS, "/sessions", "/sessions/s-1/rename"] {
        refused(&app, app.request(Method::POST, path).body(body), 415, "application/json").await;
    }
    refused(&app, app.request(Method::DELETE, "/sessions"), 415, "application/json").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_too_large() {
    let app = app_with_a_session().await;
    let json = json!({"message": "x".repeat(10_000_000), "session_name": "x".repeat(10)}).to_string();
    for path in [RUNS, "/sessions", "/sessions/s-1/rename"] {
        refused(&app, raw(&app, path, "application/json", json.clone()), 413, "server.max_body_bytes").await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn the_largest_body_that_is_allowed_is_taken() {
    let app = TestApp::with(|settings| settings.server.max_body_bytes = SMALL_LIMIT).await;
    let around = json!({"message": ""}).to_string().len();
    let fits = json!({"message": "x".repeat(SMALL_LIMIT - around)});
    assert_eq!(app.run(fits).await.expect(200)["status"], "COMPLETED");
    refused_body(&app, RUNS, json!({"message": "x".repeat(SMALL_LIMIT - around + 1)}), 413, "max_body_bytes").await;
}
