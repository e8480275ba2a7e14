//! Which names and pages are answered. `tests/browser` tries the same in a browser.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::{Raw, expect_problem};
use crate::support::{Answer, TestApp};

async fn with(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request: RequestBuilder = app.request(method, path);
    app.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// A form from a page: what a browser sends without asking first.
async fn post_form_with(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let form = app.request(Method::POST, "/agents/assistant/runs").body("message=hi&stream=false");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    app.send(headers.iter().fold(form, |form, (name, value)| form.header(*name, *value))).await
}

#[tokio::test]
async fn a_name_that_is_not_the_servers_own_is_not_answered() {
    let app = TestApp::with(|settings| {
        settings.server.allowed_hosts = vec!["colloquy".into(), "*.example.com".into()];
    })
    .await;
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:7777", "a.localhost", "colloquy:7777", "x.example.com"]
    {
        with(&app, Method::GET, "/sessions", &[("host", host)]).await.expect(200);
    }
    for host in
        ["evil.test", "evil.test:7777", "localhost.evil.test", "10.1.2.3", "[fd00::1]:7777", "colloquy.evil.test"]
    {
        for path in ["/sessions", "/health", "/docs/", "/openapi.json", "/nowhere"] {
            let problem = with(&app, Method::GET, path, &[("host", host)]).await.expect_problem(421);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("server.allowed_hosts"), "{detail}");
        }
        let preflight =
            [("host", host), ("origin", "http://localhost:3000"), ("access-control-request-method", "POST")];
        with(&app, Method::OPTIONS, "/sessions", &preflight).await.expect_problem(421);
    }
}

#[tokio::test]
async fn a_target_with_a_foreign_name_is_not_answered_whatever_the_host_header_says() {
    let app = TestApp::start().await;
    let mut raw = Raw::open(&app).await;
    raw.send("GET http://evil.test/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    expect_problem(&raw.read_to_end().await, 421);
}

#[tokio::test]
async fn a_host_that_is_missing_doubled_or_malformed_is_a_bad_request() {
    let app = TestApp::start().await;
    for hosts in [
        "",
        "host: \r\n",
        "host: local host\r\n",
        "host: localhost:port\r\n",
        "host: localhost:99999\r\n",
        "host: user@localhost\r\n",
        "host: [::1\r\n",
        "host: http://localhost\r\n",
        "host: localhost/\r\n",
        "host: caf\u{e9}\r\n",
        "host: localhost\r\nhost: localhost\r\n",
        "host: localhost\r\nhost: evil.test\r\n",
    ] {
        let mut raw = Raw::open(&app).await;
        raw.send(format!("GET /sessions HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
        let detail = expect_problem(&raw.read_to_end().await, 400);
        assert!(detail.contains("Host header"), "{detail} to {hosts:?}");
    }
}

#[tokio::test]
async fn what_a_foreign_page_asks_for_is_not_done() {
    let app = TestApp::start().await;
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "http://localhost.evil.example")],
        &[("origin", "http://127.0.0.1.evil.example:7777")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "http://localhost:3000"), ("origin", "https://evil.example")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        &[("sec-fetch-site", "same-site")],
    ] {
        let detail = post_form_with(&app, headers).await.expect_problem(403)["detail"].to_string();
        assert!(detail.contains("server.cors_origins"), "{detail} to {headers:?}");
    }
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
    ] {
        let answer = with(&app, Method::GET, "/sessions", headers).await;
        answer.expect_problem(403);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(app.get("/sessions").await.expect(200)["meta"]["total_count"], 0);
    assert!(app.model.requests().is_empty());
}

#[tokio::test]
async fn pages_of_this_machine_of_the_server_itself_and_of_the_settings_may_ask() {
    let app = TestApp::with(|settings| settings.server.cors_origins.push("https://app.example.com".into())).await;
    for headers in [
        &[][..],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:7777")],
        &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")],
        &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:3000")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com")],
        // A page that sends no referrer, as the browser tells of it.
        &[("sec-fetch-site", "same-origin"), ("origin", "null")],
        // Behind a proxy that gives the server another name.
        &[("sec-fetch-site", "same-origin"), ("origin", "https://chat.example.com")],
    ] {
        post_form_with(&app, headers).await.expect(200);
    }
    let linked = [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")];
    with(&app, Method::GET, "/sessions", &linked).await.expect(200);
}

#[tokio::test]
async fn without_this_machine_among_the_origins_the_servers_own_pages_still_work() {
    let app = TestApp::with(|settings| {
        settings.server.cors_origins = vec!["https://app.example.com".into()];
        settings.server.allowed_hosts = vec!["chat.example.com".into()];
    })
    .await;
    post_form_with(&app, &[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")])
        .await
        .expect_problem(403);
    let own = app.base_url.clone();
    post_form_with(&app, &[("origin", &own)]).await.expect(200);
    post_form_with(&app, &[("host", "chat.example.com"), ("origin", "https://chat.example.com")]).await.expect(200);
}

#[tokio::test]
async fn a_star_lets_every_page_ask_but_answers_to_no_further_name() {
    let app = TestApp::with(|settings| settings.server.cors_origins = vec!["*".into()]).await;
    for headers in
        [&[("origin", "https://any.example")][..], &[("origin", "null")], &[("sec-fetch-site", "cross-site")]]
    {
        post_form_with(&app, headers).await.expect(200);
    }
    post_form_with(&app, &[("origin", "https://any.example"), ("host", "any.example")]).await.expect_problem(421);
}

#[tokio::test]
async fn a_refusal_can_be_read_by_the_pages_that_may_ask() {
    let app = TestApp::start().await;
    let answer = with(&app, Method::GET, "/sessions/none", &[("origin", "http://localhost:3000")]).await;
    answer.expect_problem(404);
    assert_eq!(answer.headers["access-control-allow-origin"], "http://localhost:3000");
}

#[tokio::test]
async fn a_link_from_another_site_opens_the_documentation_and_no_more() {
    let app = TestApp::start().await;
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    for path in ["/docs", "/docs/", "/"] {
        assert_eq!(with(&app, Method::GET, path, &link).await.status, 200, "{path}");
        with(&app, Method::POST, path, &link).await.expect_problem(403);
        let frame = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        with(&app, Method::GET, path, &frame).await.expect_problem(403);
        with(&app, Method::GET, path, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")])
            .await
            .expect_problem(403);
    }
    with(&app, Method::GET, "/docsx", &link).await.expect_problem(403);
}

#[tokio::test]
async fn pages_say_what_they_may_load_and_that_they_stand_in_no_frame() {
    let app = TestApp::start().await;
    for path in ["/docs/", "/docs/swagger-ui-bundle.js", "/docs/nowhere"] {
        let answer = app.get(path).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(answer.headers["x-frame-options"], "DENY", "{path}");
    }
    app.say("s", "hi").await;
    for path in ["/docs/", "/sessions", "/nowhere", "/openapi.json", "/health"] {
        assert_eq!(app.get(path).await.headers["x-content-type-options"], "nosniff", "{path}");
    }
    assert_eq!(app.run(json!({"message": "hi", "stream": true})).await.headers["x-content-type-options"], "nosniff");
}
