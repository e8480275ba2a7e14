//! `DELETE /sessions/{session_id}` and `DELETE /sessions`.

use serde_json::json;

use super::{create, delete_many, get, hold_model, ids, list, rows};
use crate::support::TestApp;

#[tokio::test]
async fn deleting_a_session_removes_its_runs_messages_and_costs() {
    let app = TestApp::start().await;
    app.say("gone", "Hello").await;
    app.say("gone", "Hello again").await;
    app.say("kept", "Hello").await;
    assert_eq!(rows(&app).await, (2, 3, 6, 2));
    let answer = app.delete("/sessions/gone").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert_eq!(rows(&app).await, (1, 1, 2, 1));
    app.get("/sessions/gone").await.expect_problem(404);
    assert_eq!(ids(&list(&app, "").await), ["kept"]);
}

#[tokio::test]
async fn deleting_what_is_not_there_is_done_already() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    for path in ["/sessions/s-1", "/sessions/s-1", "/sessions/never-was"] {
        app.delete(path).await.expect(204);
    }
    delete_many(&app, "", json!({"session_ids": ["s-1", "never-was", "s-1"]})).await.expect(204);
}

#[tokio::test]
async fn an_id_may_be_used_again_after_it_was_deleted() {
    let app = TestApp::start().await;
    app.say("s-1", "Remember the number 7").await;
    app.delete("/sessions/s-1").await.expect(204);
    app.say("s-1", "Which number?").await;
    let session = get(&app, "s-1").await;
    assert_eq!((&session["session_name"], &session["run_count"]), (&json!("Which number?"), &json!(1)));
    assert!(!app.model.requests()[1].to_string().contains("Remember"), "the model sees nothing of what was deleted");
}

#[tokio::test]
async fn foreign_sessions_and_those_of_another_type_stay() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1", "user_id": "alice"})).await;
    app.delete("/sessions/s-1?user_id=bob").await.expect(204);
    app.delete("/sessions/s-1?type=team").await.expect(204);
    delete_many(&app, "?user_id=bob", json!({"session_ids": ["s-1"]})).await.expect(204);
    delete_many(&app, "", json!({"session_ids": ["s-1"], "session_types": ["workflow"]})).await.expect(204);
    get(&app, "s-1").await;
    app.delete("/sessions/s-1?user_id=alice&type=agent").await.expect(204);
    app.get("/sessions/s-1").await.expect_problem(404);
}

#[tokio::test]
async fn a_type_for_all_ids_spares_sessions_of_another_type() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    delete_many(&app, "?type=team", json!({"session_ids": ["s-1"]})).await.expect(204);
    get(&app, "s-1").await;
    delete_many(&app, "?type=agent", json!({"session_ids": ["s-1"]})).await.expect(204);
    app.get("/sessions/s-1").await.expect_problem(404);
}

#[tokio::test]
async fn many_sessions_are_deleted_at_once() {
    let app = TestApp::start().await;
    for (id, user) in [("a", "alice"), ("b", "alice"), ("c", "alice"), ("foreign", "bob")] {
        app.run(json!({"message": "Hi", "session_id": id, "user_id": user})).await.expect(200);
    }
    app.post("/sessions?type=team", json!({"session_id": "t", "user_id": "alice"})).await.expect(201);
    let body = json!({"session_ids": ["a", "t", "foreign"], "session_types": ["agent", "team", "agent"]});
    delete_many(&app, "?user_id=alice", body).await.expect(204);
    assert_eq!(ids(&list(&app, "").await), ["foreign", "c", "b"]);
    assert_eq!(rows(&app).await, (3, 3, 6, 3));
    delete_many(&app, "", json!({"session_ids": ["b", "c", "foreign"]})).await.expect(204);
    assert_eq!(rows(&app).await, (0, 0, 0, 0));
}

#[tokio::test]
async fn ids_and_types_of_different_number_are_refused_and_delete_nothing() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "s-1"})).await;
    for types in [json!([]), json!(["agent", "agent"])] {
        let answer = delete_many(&app, "", json!({"session_ids": ["s-1"], "session_types": types})).await;
        let problem = answer.expect_problem(400);
        assert_eq!(problem["detail"], "Session IDs and session types must have the same length");
    }
    get(&app, "s-1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_session_during_a_run_wins() {
    let app = TestApp::start().await;
    app.say("s-1", "Before").await;
    let held = hold_model(&app);
    let body = json!({"message": "During", "session_id": "s-1", "session_state": {"a": 1}});
    let (run, deleted) = tokio::join!(app.run(body), held.meanwhile(app.delete("/sessions/s-1")));
    deleted.expect(204);
    assert_eq!(run.expect(200)["status"], "CANCELLED");
    app.shut_down().await;
    assert_eq!(rows(&app).await, (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_run_whose_session_is_deleted_never_says_that_it_was_completed() {
    let app = TestApp::start().await;
    let held = hold_model(&app);
    let body = json!({"message": "During", "session_id": "s-1", "stream": true});
    let (run, deleted) = tokio::join!(app.run(body), held.meanwhile(app.delete("/sessions/s-1")));
    deleted.expect(204);
    let events = run.events();
    assert_eq!(events.last().unwrap().name, "RunCancelled");
    assert!(events.iter().all(|event| event.name != "RunCompleted"));
    app.shut_down().await;
    assert_eq!(rows(&app).await, (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_does_not_settle_into_a_later_session_of_the_same_id() {
    let app = TestApp::start().await;
    let held = hold_model(&app);
    let body = json!({"message": "During", "session_id": "s-1", "session_state": {"a": 1}});
    let (run, ()) = tokio::join!(
        app.run(body),
        held.meanwhile(async {
            app.delete("/sessions/s-1").await.expect(204);
            create(&app, json!({"session_id": "s-1", "user_id": "bob"})).await;
        })
    );
    assert_eq!(run.expect(200)["status"], "CANCELLED");
    app.shut_down().await;
    let (sessions, runs, messages, costs) = rows(&app).await;
    assert_eq!((sessions, runs, messages, costs), (1, 0, 0, 0));
    let state: serde_json::Value =
        sqlx::query_scalar("select session_state from sessions").fetch_one(app.db()).await.unwrap();
    assert_eq!(state, json!({}));
}

#[tokio::test]
async fn what_the_list_shows_with_a_filter_is_deleted_by_it_and_first_only_counted() {
    let app = TestApp::start().await;
    for (id, user, tag) in [("a", "alice", "old"), ("b", "alice", "old"), ("c", "alice", "new"), ("d", "bob", "old")] {
        create(&app, json!({"session_id": id, "user_id": user, "metadata": {"tag": tag}})).await;
    }
    let by = |dry_run: bool| json!({"filter": {"metadata": {"tag": "old"}, "type": "agent"}, "dry_run": dry_run});
    let counted = delete_many(&app, "?user_id=alice", by(true)).await.expect(200);
    assert_eq!(counted, json!({"session_count": 2, "dry_run": true}));
    assert_eq!(rows(&app).await.0, 4);
    let deleted = delete_many(&app, "?user_id=alice", by(false)).await.expect(200);
    assert_eq!(deleted, json!({"session_count": 2, "dry_run": false}));
    assert_eq!(ids(&list(&app, "").await), ["d", "c"]);
    let of_bob = json!({"filter": {"user_id": "bob"}});
    delete_many(&app, "?user_id=alice", of_bob.clone()).await.expect_problem(422);
    assert_eq!(delete_many(&app, "", of_bob).await.expect(200)["session_count"], 1);
    assert_eq!(ids(&list(&app, "").await), ["c"]);
}

#[tokio::test]
async fn a_filter_with_an_empty_text_deletes_nothing() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "a", "user_id": "bob"})).await;
    for name in ["session_name", "q"] {
        let problem = delete_many(&app, "", json!({"filter": {"user_id": "bob", name: ""}})).await.expect_problem(422);
        assert_eq!(problem["errors"][0]["pointer"], format!("/filter/{name}"), "{problem}");
    }
    assert_eq!(ids(&list(&app, "").await), ["a"]);
}

#[tokio::test]
async fn archived_sessions_are_deleted_by_a_filter_that_asks_for_them() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "a"})).await;
    create(&app, json!({"session_id": "b"})).await;
    app.patch("/sessions/a", json!({"archived": true})).await.expect(200);
    assert_eq!(delete_many(&app, "", json!({"filter": {"type": "team"}})).await.expect(200)["session_count"], 0);
    assert_eq!(delete_many(&app, "", json!({"filter": {"archived": true}})).await.expect(200)["session_count"], 1);
    assert_eq!(ids(&list(&app, "archived=all").await), ["b"]);
}

#[tokio::test]
async fn a_type_may_be_given_in_capitals_but_not_empty() {
    let app = TestApp::start().await;
    for session_id in ["a", "b"] {
        create(&app, json!({"session_id": session_id})).await;
    }
    for empty in [json!({"filter": {"type": ""}}), json!({"session_ids": ["a"], "session_types": [""]})] {
        delete_many(&app, "", empty).await.expect_problem(422);
    }
    let counted = json!({"filter": {"session_type": "AGENT"}, "dry_run": true});
    assert_eq!(delete_many(&app, "", counted).await.expect(200)["session_count"], 2);
    let mixed = json!({"session_ids": ["a", "b"], "session_types": ["TEAM", "Agent"]});
    delete_many(&app, "", mixed).await.expect(204);
    assert_eq!(ids(&list(&app, "type=Agent").await), ["a"]);
}
