//! `PATCH /sessions/{session_id}`, and versions.

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{create, get, rename};
use crate::support::{Answer, TestApp};

async fn merge(app: &TestApp, session_id: &str, patch: Value) -> Answer {
    let request = app.request(Method::PATCH, &format!("/sessions/{session_id}"));
    app.send(request.header("content-type", "application/merge-patch+json").body(patch.to_string())).await
}

async fn patch_if(app: &TestApp, tag: &str, body: Value) -> Answer {
    let request = app.request(Method::PATCH, "/sessions/s-1").header(header::IF_MATCH, tag);
    app.send(request.json(&body)).await
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn json_replaces_what_is_given_and_null_leaves_it() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1", "session_state": {"a": 1, "b": 2}, "metadata": {"m": 1}})).await;
    let changed = app.patch("/sessions/s-1", json!({"session_state": {"a": 3}, "metadata": null})).await.expect(200);
    assert_eq!((&changed["session_state"], &changed["metadata"]), (&json!({"a": 3}), &json!({"m": 1})));
}

#[tokio::test]
async fn a_merge_patch_merges_and_null_removes() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1", "session_state": {"a": {"x": 1, "y": 2}, "b": 2}})).await;
    let changed = merge(&app, "s-1", json!({"session_state": {"a": {"x": null, "z": 3}, "b": null}})).await.expect(200);
    assert_eq!(changed["session_state"], json!({"a": {"y": 2, "z": 3}}));
    let changed = merge(&app, "s-1", json!({"session_name": "Named", "pinned": true})).await.expect(200);
    assert_eq!((&changed["session_name"], &changed["pinned"]), (&json!("Named"), &json!(true)));
    assert_eq!(changed["session_state"], json!({"a": {"y": 2, "z": 3}}), "what is left out stays");
    let emptied = json!({"session_name": null, "session_state": null, "metadata": null, "pinned": null});
    let changed = merge(&app, "s-1", emptied).await.expect(200);
    assert_eq!((&changed["session_name"], &changed["session_state"]), (&json!(""), &json!({})));
    assert_eq!(changed["pinned"], false);
    merge(&app, "s-1", json!({"session_state": 5})).await.expect_problem(422);
    merge(&app, "s-1", json!({"summary": {}})).await.expect_problem(422);
}

#[tokio::test]
async fn an_expiry_is_set_and_taken_back() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    for given in [json!("2030-01-01T01:00:00+01:00"), json!(1_893_456_000)] {
        let changed = app.patch("/sessions/s-1", json!({"expires_at": given})).await.expect(200);
        assert_eq!(changed["expires_at"], "2030-01-01T00:00:00Z");
    }
    assert_eq!(merge(&app, "s-1", json!({"expires_at": null})).await.expect(200).get("expires_at"), None);
    app.patch("/sessions/s-1", json!({"expires_at": "never"})).await.expect_problem(422);
}

#[tokio::test]
async fn an_empty_name_gives_the_title_back_to_the_first_message() {
    let app = TestApp::start().await;
    app.say("s-1", &format!("  {}", "Long ago ".repeat(20))).await;
    app.say("s-1", "Later").await;
    let title = get(&app, "s-1").await["session_name"].clone();
    assert_eq!(title.as_str().unwrap().chars().count(), 100);
    for empty in ["", " \n"] {
        rename(&app, "s-1", "Mine").await.expect(200);
        assert_eq!(rename(&app, "s-1", empty).await.expect(200)["session_name"], title);
    }
    create(&app, json!({"session_id": "s-2", "session_name": "Mine"})).await;
    assert_eq!(rename(&app, "s-2", "").await.expect(200)["session_name"], "");
    app.say("s-2", "Hello").await;
    assert_eq!(get(&app, "s-2").await["session_name"], "Hello", "the next message names it");
}

#[tokio::test]
async fn a_change_from_an_older_version_is_refused() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    let seen = tag(&app.get("/sessions/s-1").await);
    let changed = patch_if(&app, &seen, json!({"session_name": "First"})).await;
    changed.expect(200);
    assert_ne!(tag(&changed), seen);
    assert_eq!(tag(&changed), tag(&app.get("/sessions/s-1").await));
    let problem = patch_if(&app, &seen, json!({"session_name": "Second"})).await.expect_problem(412);
    assert!(problem["detail"].as_str().unwrap().contains(&tag(&changed)), "{problem}");
    let renaming = app.request(Method::POST, "/sessions/s-1/rename").header(header::IF_MATCH, &seen);
    app.send(renaming.json(&json!({"session_name": "Third"}))).await.expect_problem(412);
    let deleting = app.request(Method::DELETE, "/sessions/s-1").header(header::IF_MATCH, &seen);
    app.send(deleting).await.expect_problem(412);
    assert_eq!(get(&app, "s-1").await["session_name"], "First");
    let deleting = || app.request(Method::DELETE, "/sessions/s-1").header(header::IF_MATCH, tag(&changed));
    app.send(deleting()).await.expect(204);
    app.send(deleting()).await.expect(204);
}

#[tokio::test]
async fn a_run_and_a_later_session_of_the_same_id_are_other_versions() {
    let app = TestApp::start().await;
    app.say("s-1", "Hello").await;
    let before = tag(&app.get("/sessions/s-1").await);
    app.say("s-1", "Hello again").await;
    patch_if(&app, &before, json!({})).await.expect_problem(412);
    app.delete("/sessions/s-1").await.expect(204);
    app.say("s-1", "Hello").await;
    assert_ne!(tag(&app.get("/sessions/s-1").await), before);
}

#[tokio::test]
async fn lists_and_stars_match_and_weak_tags_do_not() {
    let app = TestApp::start().await;
    let created = app.post("/sessions", json!({"session_id": "s-1"})).await;
    let seen = tag(&created);
    patch_if(&app, &format!("W/{seen}"), json!({})).await.expect_problem(412);
    patch_if(&app, r#""other""#, json!({})).await.expect_problem(412);
    patch_if(&app, &format!(r#""other" , {seen}"#), json!({})).await.expect(200);
    patch_if(&app, "*", json!({})).await.expect(200);
    for malformed in ["1", "\"", "", "*, *"] {
        patch_if(&app, malformed, json!({})).await.expect_problem(422);
    }
    let nowhere = app.request(Method::PATCH, "/sessions/nowhere").header(header::IF_MATCH, "*");
    app.send(nowhere.json(&json!({}))).await.expect_problem(404);
}

#[tokio::test]
async fn a_state_that_is_too_large_is_refused_and_changes_nothing() {
    let app = TestApp::with(|settings| settings.sessions.max_state_bytes = 100).await;
    create(&app, json!({"session_id": "s-1", "session_state": {"a": "x".repeat(60)}})).await;
    for (field, pointer) in [("session_state", "/session_state"), ("metadata", "/metadata")] {
        let large = json!({field: {"b": "x".repeat(100)}});
        let problem = app.patch("/sessions/s-1", large.clone()).await.expect_problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer);
        app.post("/sessions", large).await.expect_problem(422);
    }
    let problem = merge(&app, "s-1", json!({"session_state": {"b": "x".repeat(60)}})).await.expect_problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("sessions.max_state_bytes"), "{problem}");
    assert_eq!(get(&app, "s-1").await["session_state"], json!({"a": "x".repeat(60)}));
}
