//! Paths and methods.

use reqwest::Method;

use super::{app_with_a_session, assert_untouched, refused};
use crate::support::TestApp;

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let app = TestApp::start().await;
    for path in ["/nowhere", "/session", "/agents/assistant/run", "/sessions/s-1/nowhere", "/%FF"] {
        for method in [Method::GET, Method::POST, Method::PATCH] {
            refused(&app, app.request(method, path), 404, "/docs").await;
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_those_that_are_allowed() {
    let app = app_with_a_session().await;
    for (method, path, allowed) in [
        (Method::PUT, "/sessions", "DELETE,GET,HEAD,POST"),
        (Method::PATCH, "/sessions", "DELETE,GET,HEAD,POST"),
        (Method::POST, "/sessions/s-1", "DELETE,GET,HEAD,PATCH"),
        (Method::GET, "/sessions/s-1/rename", "POST"),
        (Method::DELETE, "/agents/assistant", "GET,HEAD"),
        (Method::DELETE, "/agents/assistant/runs", "GET,HEAD,POST"),
        (Method::POST, "/health", "GET,HEAD"),
    ] {
        let answer = app.send(app.request(method.clone(), path)).await;
        let problem = answer.expect_problem(405);
        assert!(problem["detail"].as_str().unwrap().contains(method.as_str()), "{problem}");
        let mut allow: Vec<_> = answer.headers["allow"].to_str().unwrap().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn below_the_documentation_too_every_refusal_is_a_problem() {
    let app = TestApp::start().await;
    refused(&app, app.request(Method::GET, "/docs/nowhere.js"), 404, "/docs").await;
    refused(&app, app.request(Method::POST, "/openapi.json"), 405, "/openapi.json").await;
}

#[tokio::test]
async fn a_request_id_that_cannot_be_one_is_replaced_and_any_other_comes_back() {
    let app = TestApp::start().await;
    let send = async |id: &[u8]| {
        let answer = app.send(app.request(Method::GET, "/nowhere").header("x-request-id", id)).await;
        answer.expect(404)["instance"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(send(b"mine-1").await, "mine-1");
    for unfit in [&b"x".repeat(5_000)[..], b"", "café".as_bytes()] {
        let id = send(unfit).await;
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id:?} for {unfit:.20?}");
    }
}

#[tokio::test]
async fn browsers_may_call_from_this_machine_and_from_where_the_settings_say() {
    let app = TestApp::with(|settings| settings.server.cors_origins.push("https://app.example.com".into())).await;
    for (origin, allowed) in [
        ("http://localhost:3000", true),
        ("http://127.0.0.1:5173", true),
        ("https://app.example.com", true),
        ("https://evil.example", false),
        ("http://localhost.evil.example", false),
        ("null", false),
    ] {
        let preflight = app
            .request(Method::OPTIONS, "/agents/assistant/runs")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let answer = app.send(preflight).await;
        assert_eq!(answer.headers.contains_key("access-control-allow-origin"), allowed, "{origin}");
        if allowed {
            assert_eq!(answer.headers["access-control-allow-headers"], "authorization,content-type");
        } else {
            answer.expect_problem(403);
        }
    }
}
