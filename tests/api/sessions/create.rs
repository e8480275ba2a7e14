//! `POST /sessions`.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::{create, get};
use crate::support::TestApp;

#[tokio::test]
async fn a_session_is_created_with_all_that_was_given() {
    let app = TestApp::start().await;
    let created = create(
        &app,
        json!({
            "session_id": "s-1", "session_name": "Holidays", "session_state": {"step": 1}, "metadata": {"tags": ["a"]},
            "user_id": "alice", "agent_id": "assistant",
        }),
    )
    .await;
    assert_eq!(created["session_id"], "s-1");
    assert_eq!(created["agent_session_id"], "s-1");
    assert_eq!(created["session_name"], "Holidays");
    assert_eq!(created["session_state"], json!({"step": 1}));
    assert_eq!(created["metadata"], json!({"tags": ["a"]}));
    assert_eq!((&created["user_id"], &created["agent_id"]), (&json!("alice"), &json!("assistant")));
    assert_eq!((&created["metrics"], &created["chat_history"]), (&json!({}), &json!([])));
    assert_eq!(created, get(&app, "s-1").await);
}

#[tokio::test]
async fn a_body_may_be_absent_and_nulls_count_as_left_out() {
    let app = TestApp::start().await;
    let bare = app.send(app.request(Method::POST, "/sessions")).await.expect(201);
    let nulls = json!({
        "session_id": null, "session_name": null, "session_state": null, "metadata": null, "user_id": null,
        "agent_id": null, "team_id": null, "workflow_id": null,
    });
    for created in [bare, create(&app, json!({})).await, create(&app, nulls).await] {
        let id = created["session_id"].as_str().unwrap();
        assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 7);
        assert_eq!((&created["session_name"], &created["session_state"]), (&json!(""), &json!({})));
        assert!(created.get("user_id").is_none() && created.get("agent_id").is_none(), "{created}");
    }
}

#[tokio::test]
async fn an_id_in_use_is_a_conflict_and_changes_nothing() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1", "session_name": "First", "user_id": "alice"})).await;
    let whose_it_is = "Session with id 's-1' already exists. Use PATCH";
    let anothers = "This session id is in use";
    for (user, detail) in [(json!("alice"), whose_it_is), (json!(null), whose_it_is), (json!("bob"), anothers)] {
        let body = json!({"session_id": "s-1", "session_name": "Second", "user_id": user});
        let problem = app.post("/sessions", body).await.expect_problem(409);
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
    assert_eq!(get(&app, "s-1").await["session_name"], "First");
}

#[tokio::test]
async fn a_team_session_has_the_shape_of_the_wire() {
    let app = TestApp::start().await;
    let body = json!({"session_id": "t-1", "user_id": "alice", "team_id": "editors"});
    let created = app.post("/sessions?type=team", body).await.expect(201);
    assert_eq!(created["session_id"], "t-1");
    assert_eq!((&created["team_id"], &created["user_id"]), (&json!("editors"), &json!("alice")));
    assert_eq!((&created["session_name"], &created["chat_history"]), (&json!(""), &json!([])));
    for absent in ["agent_id", "agent_session_id", "agent_data", "workflow_id"] {
        assert!(created.get(absent).is_none(), "{absent} in {created}");
    }
}

#[tokio::test]
async fn a_workflow_session_has_the_shape_of_the_wire() {
    let app = TestApp::start().await;
    let body = json!({"session_id": "w-1", "user_id": "alice", "workflow_id": "publish", "metadata": {"a": 1}});
    let created = app.post("/sessions?type=workflow", body).await.expect(201);
    assert_eq!(created["session_id"], "w-1");
    assert_eq!((&created["workflow_id"], &created["user_id"]), (&json!("publish"), &json!("alice")));
    assert_eq!((&created["session_name"], &created["metadata"]), (&json!(""), &json!({"a": 1})));
    for absent in ["agent_id", "agent_session_id", "agent_data", "team_id"] {
        assert!(created.get(absent).is_none(), "{absent} in {created}");
    }
    assert_eq!((&created["session_data"], &created["workflow_data"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn the_id_of_another_types_component_is_refused() {
    let app = TestApp::start().await;
    let cases = [
        ("", "team_id"),
        ("?type=agent", "workflow_id"),
        ("?type=team", "agent_id"),
        ("?type=team", "workflow_id"),
        ("?type=workflow", "agent_id"),
    ];
    for (query, field) in cases {
        let answer = app.post(&format!("/sessions{query}"), json!({field: "some-id"})).await;
        let problem = answer.expect_problem(422);
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
        assert!(problem["detail"].as_str().unwrap().contains("?type="), "{problem}");
    }
    assert_eq!(super::list(&app, "").await["meta"]["total_count"], 0);
}

#[tokio::test]
async fn a_run_on_an_unused_id_creates_the_session_and_one_on_a_created_session_continues_it() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "made", "session_state": {"a": 1}})).await;
    for id in ["made", "unused"] {
        app.say(id, "Good morning").await;
        let session = get(&app, id).await;
        assert_eq!((&session["session_name"], &session["agent_id"]), (&json!("Good morning"), &json!("assistant")));
        assert_eq!(session["run_count"], 1);
    }
    assert_eq!(get(&app, "made").await["session_state"], json!({"a": 1}));
}
