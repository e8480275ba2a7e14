//! Memories that are told over the API.

use colloquy::testing::memories;
use reqwest::Method;
use serde_json::json;

use super::{id, known, tell};
use crate::support::TestApp;

#[tokio::test]
async fn a_memory_is_told_read_changed_and_erased() {
    let app = TestApp::start().await;
    let told = app.post("/memories", json!({"user_id": "bob", "memory": "likes jazz", "topics": ["music", "taste"]}));
    let told = told.await.expect(200);
    assert_eq!((&told["memory"], &told["topics"]), (&json!("likes jazz"), &json!(["music", "taste"])));
    assert_eq!((&told["agent_id"], &told["team_id"], &told["user_id"]), (&json!(null), &json!(null), &json!("bob")));
    let path = format!("/memories/{}", id(&told));
    assert_eq!(app.get(&path).await.expect(200), told);

    let change = json!({"memory": "likes blues", "user_id": "bob", "topics": ["music"]});
    let changed = app.send(app.request(Method::PATCH, &path).json(&change)).await.expect(200);
    assert_eq!((&changed["memory_id"], &changed["memory"]), (&told["memory_id"], &json!("likes blues")));
    let history = app.get(&format!("{path}/history")).await.expect(200);
    assert_eq!((&history[0]["action"], &history[0]["before"]), (&json!("add"), &json!(null)));
    assert_eq!((&history[1]["action"], &history[1]["before"]), (&json!("edit"), &json!("likes jazz")));

    app.delete(&path).await.expect(204);
    app.delete(&path).await.expect(204);
    app.get(&path).await.expect_problem(404);
    app.get(&format!("{path}/history")).await.expect_problem(404);
}

#[tokio::test]
async fn the_same_is_kept_once() {
    let app = TestApp::start().await;
    let first = tell(&app, "bob", "Bob likes jazz.").await;
    let again = app.post("/memories", json!({"user_id": "bob", "memory": "bob likes  JAZZ", "topics": ["music"]}));
    let again = again.await.expect(200);
    assert_eq!((&again["memory_id"], &again["topics"]), (&first["memory_id"], &json!(["music"])));
    assert_eq!(known(&app, "bob").await, ["Bob likes jazz."]);
    // What only sounds alike is another.
    tell(&app, "bob", "Bob no longer likes jazz.").await;
    tell(&app, "eve", "Bob likes jazz.").await;
    assert_eq!(known(&app, "bob").await.len(), 2);
}

#[tokio::test]
async fn at_once_the_same_is_kept_once_too() {
    let app = TestApp::start().await;
    let tellings = (0..8).map(|_| tell(&app, "bob", "Bob likes jazz."));
    let told = futures::future::join_all(tellings).await;
    assert!(told.iter().all(|memory| id(memory) == id(&told[0])), "{told:?}");
}

#[tokio::test]
async fn a_list_has_filters_pages_and_the_last_changed_first() {
    let app = TestApp::start().await;
    for (user, memory, topics) in [
        ("bob", "Bob likes jazz.", json!(["Music", "taste"])),
        ("bob", "Bob is 100% sure.", json!(["music"])),
        ("eve", "Eve likes jazz.", json!(null)),
    ] {
        app.post("/memories", json!({"user_id": user, "memory": memory, "topics": topics})).await.expect(200);
    }
    let found = async |query: &str| {
        let page = app.get(&format!("/memories?{query}")).await.expect(200);
        let texts = page["data"].as_array().unwrap().iter().map(|m| m["memory"].as_str().unwrap().to_owned());
        (texts.collect::<Vec<_>>(), page["meta"]["total_count"].as_i64().unwrap())
    };
    assert_eq!(found("limit=1").await, (vec!["Eve likes jazz.".into()], 3));
    assert_eq!(found("user_id=bob&page=2&limit=1").await, (vec!["Bob likes jazz.".into()], 2));
    assert_eq!(found("topics=music,Taste").await.0, ["Bob likes jazz."]);
    assert_eq!(found("topics=music&topics=taste").await.0, ["Bob likes jazz."]);
    assert_eq!(found("search_content=100%25").await.0, ["Bob is 100% sure."]);
    assert_eq!(
        found("search_content=JAZZ&sort_by=memory&sort_order=asc").await.0,
        ["Bob likes jazz.", "Eve likes jazz."]
    );
    assert_eq!(found("agent_id=assistant").await.1, 0);

    assert_eq!(app.get("/memory_topics?user_id=bob").await.expect(200), json!(["Music", "music", "taste"]));
    let stats = app.get("/user_memory_stats").await.expect(200);
    assert_eq!((&stats["data"][0]["user_id"], &stats["data"][1]["total_memories"]), (&json!("eve"), &json!(2)));
}

#[tokio::test]
async fn what_expires_is_no_longer_found() {
    let app = TestApp::start().await;
    let body = |year: u16| json!({"user_id": "bob", "memory": "Bob is in Oslo.", "expires_at": format!("{year}-01-01T00:00:00Z")});
    let problem = app.post("/memories", body(2020)).await.expect_problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("has passed"), "{problem}");
    let told = app.post("/memories", body(2120)).await.expect(200);
    assert_eq!(known(&app, "bob").await, ["Bob is in Oslo."]);
    app.execute("update memories set expires_at = '2020-01-01'").await;
    assert_eq!(known(&app, "bob").await, [""; 0]);
    let path = format!("/memories/{}", id(&told));
    app.send(app.request(Method::PATCH, &path).json(&json!({"expires_at": null}))).await.expect(200);
    assert_eq!(known(&app, "bob").await, ["Bob is in Oslo."]);

    let late = json!({"expires_at": "9999-12-31T23:59:59-12:00"});
    app.send(app.request(Method::PATCH, &path).json(&late)).await.expect_problem(422);
    tell(&app, "bob", "Bob likes jazz.").await;
    app.execute("update memories set expires_at = '2020-01-01' where memory like '%Oslo%'").await;
    memories::service::sweep(&app.app).await.unwrap();
    app.get(&path).await.expect_problem(404);
    assert_eq!(known(&app, "bob").await, ["Bob likes jazz."]);
}

#[tokio::test]
async fn two_users_in_one_request_are_refused() {
    let app = TestApp::start().await;
    let told = tell(&app, "bob", "Bob likes jazz.").await;
    let body = json!({"memory": "Likes tea", "user_id": "eve"});
    app.post("/memories?user_id=bob", body.clone()).await.expect_problem(422);
    let path = format!("/memories/{}?user_id=bob", id(&told));
    app.send(app.request(Method::PATCH, &path).json(&body)).await.expect_problem(422);
    let ids = json!({"memory_ids": [id(&told)], "user_id": "eve"});
    app.send(app.request(Method::DELETE, "/memories?user_id=bob").json(&ids)).await.expect_problem(422);
    assert_eq!(known(&app, "bob").await, ["Bob likes jazz."]);
}

#[tokio::test]
async fn what_is_meant_for_the_body_is_not_missed_in_the_query() {
    let app = TestApp::start().await;
    for (path, body) in [
        ("/agents/assistant/runs", json!({"message": "hi"})),
        ("/search", json!({"query": "tea", "session_id": "s"})),
        ("/memories/search", json!({"query": "tea", "user_id": "bob"})),
        ("/memories/extract", json!({"text": "I like tea"})),
        ("/sessions/s/messages", json!({"messages": [{"role": "user", "content": "hi"}]})),
    ] {
        let problem = app.post(&format!("{path}?user_id=eve"), body).await.expect_problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("give it in the body"), "{problem}");
    }
    app.post("/agents/assistant/runs?db_id=default", json!({"message": "hi"})).await.expect(200);
}

#[tokio::test]
async fn another_users_memory_is_not_there() {
    let app = TestApp::start().await;
    let told = tell(&app, "bob", "Bob likes jazz.").await;
    let path = format!("/memories/{}", id(&told));
    let change = json!({"memory": "Eve was here.", "user_id": "eve"});
    app.send(app.request(Method::PATCH, &path).json(&change)).await.expect_problem(404);
    for path in [path.clone() + "?user_id=eve", path.clone() + "/history?user_id=eve"] {
        app.get(&path).await.expect_problem(404);
    }
    app.delete(&format!("{path}?user_id=eve")).await.expect(204);
    let ids = json!({"memory_ids": [id(&told), "no-such-id"], "user_id": "eve"});
    app.send(app.request(Method::DELETE, "/memories").json(&ids)).await.expect(204);
    assert_eq!(known(&app, "bob").await, ["Bob likes jazz."]);
    // An unknown one is not made by changing it.
    let unknown = "/memories/0192d3a4-0000-7000-8000-000000000000";
    app.send(app.request(Method::PATCH, unknown).json(&json!({"memory": "x"}))).await.expect_problem(404);
}

#[tokio::test]
async fn bad_memories_are_refused_with_a_reason() {
    let app = TestApp::start().await;
    for (body, status) in [
        (json!({"memory": "likes jazz"}), 400),
        (json!({"memory": "", "user_id": "bob"}), 422),
        (json!({"memory": "x".repeat(5001), "user_id": "bob"}), 422),
        (json!({"memory": "a\0b", "user_id": "bob"}), 422),
        (json!({"memory": "x", "user_id": ""}), 422),
        (json!({"memory": "x", "user_id": "bob", "topics": [""]}), 422),
        (json!({"memory": "x", "user_id": "bob", "input": "y"}), 422),
        (json!({"memory": "Bob's card is 4111 1111 1111 1111.", "user_id": "bob"}), 422),
        (json!({"memory": "Bob's password is hunter2.", "user_id": "bob"}), 422),
    ] {
        app.post("/memories", body).await.expect_problem(status);
    }
    let told = tell(&app, "bob", "Bob likes jazz.").await;
    tell(&app, "bob", "Bob hates golf.").await;
    let path = format!("/memories/{}", id(&told));
    for (body, status) in [(json!({}), 422), (json!({"memory": "Bob hates golf"}), 409), (json!({"memory": null}), 422)]
    {
        app.send(app.request(Method::PATCH, &path).json(&body)).await.expect_problem(status);
    }
    app.send(app.request(Method::DELETE, "/memories").json(&json!({"memory_ids": []}))).await.expect_problem(422);
    app.get("/memories?limit=101").await.expect_problem(422);
    app.get("/memories?user_id=").await.expect_problem(422);
    app.get("/memories?nonsense=1").await.expect_problem(422);
    app.get("/memories/no-such-id").await.expect_problem(404);
}
