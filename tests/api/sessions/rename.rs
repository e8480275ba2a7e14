//! `POST /sessions/{session_id}/rename`.

use serde_json::{Value, json};

use super::{create, get, hold_model, rename};
use crate::support::TestApp;

#[tokio::test]
async fn a_given_name_wins_over_the_automatic_one() {
    let app = TestApp::start().await;
    app.say("s-1", "What is the weather?").await;
    assert_eq!(get(&app, "s-1").await["session_name"], "What is the weather?");
    assert_eq!(rename(&app, "s-1", "Weather").await.expect(200)["session_name"], "Weather");
    app.say("s-1", "And tomorrow?").await;
    assert_eq!(get(&app, "s-1").await["session_name"], "Weather");

    create(&app, json!({"session_id": "s-2"})).await;
    rename(&app, "s-2", "Named before").await.expect(200);
    app.say("s-2", "Hello").await;
    assert_eq!(get(&app, "s-2").await["session_name"], "Named before");
}

#[tokio::test]
async fn the_answer_is_the_whole_session_with_nulls_for_what_it_has_not() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1", "session_state": {"a": 1}, "metadata": {"m": 1}})).await;
    let renamed = rename(&app, "s-1", "New name").await.expect(200);
    assert_eq!((&renamed["session_name"], &renamed["session_state"]), (&json!("New name"), &json!({"a": 1})));
    for field in ["user_id", "session_summary", "agent_id", "total_tokens", "agent_data"] {
        assert_eq!(renamed.get(field), Some(&Value::Null), "{field} in {renamed}");
    }
}

#[tokio::test]
async fn the_answer_for_a_team_or_a_workflow_has_the_nulls_of_its_own_shape() {
    let app = TestApp::start().await;
    for (kind, fields) in [
        ("team", &["user_id", "team_id", "session_summary", "team_data", "total_tokens"][..]),
        ("workflow", &["user_id", "workflow_id", "workflow_name"][..]),
    ] {
        app.post(&format!("/sessions?type={kind}"), json!({"session_id": kind})).await.expect(201);
        let renamed = rename(&app, kind, "New name").await.expect(200);
        for field in fields {
            assert_eq!(renamed.get(field), Some(&Value::Null), "{field} in {renamed}");
        }
        for absent in ["agent_data", "agent_session_id"] {
            assert!(renamed.get(absent).is_none(), "{absent} in {renamed}");
        }
    }
}

#[tokio::test]
async fn other_users_and_other_types_do_not_rename() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1", "session_name": "Mine", "user_id": "alice"})).await;
    for query in ["user_id=bob", "type=team"] {
        let path = format!("/sessions/s-1/rename?{query}");
        app.post(&path, json!({"session_name": "Stolen"})).await.expect_problem(404);
    }
    rename(&app, "nowhere", "Nothing").await.expect_problem(404);
    assert_eq!(get(&app, "s-1").await["session_name"], "Mine");
    app.post("/sessions/s-1/rename?user_id=alice&type=agent", json!({"session_name": "Ours"})).await.expect(200);
    assert_eq!(get(&app, "s-1").await["session_name"], "Ours");
}

#[tokio::test]
async fn a_name_is_kept_as_it_was_sent() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    let longest = "é".repeat(500);
    for name in ["  spaces  ", "line\nbreak", "null", longest.as_str()] {
        assert_eq!(rename(&app, "s-1", name).await.expect(200)["session_name"], name);
        assert_eq!(get(&app, "s-1").await["session_name"], name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_given_during_a_run_stays_when_the_run_has_settled() {
    let app = TestApp::start().await;
    let held = hold_model(&app);
    let body = json!({"message": "Hello", "session_id": "s-1", "session_state": {"mood": "good"}});
    let (run, renamed) = tokio::join!(app.run(body), held.meanwhile(rename(&app, "s-1", "Renamed")));
    assert_eq!(renamed.expect(200)["session_name"], "Renamed");
    assert_eq!(run.expect(200)["status"], "COMPLETED");
    let session = get(&app, "s-1").await;
    assert_eq!(session["session_name"], "Renamed");
    assert_eq!(session["session_state"], json!({"mood": "good"}), "and the run's own changes are there too");
}
