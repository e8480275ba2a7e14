//! `Idempotency-Key` on what creates.

use chrono::TimeDelta;
use colloquy::testing::clock;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ids, list};
use crate::support::{Answer, TestApp};

async fn create_once(app: &TestApp, key: &str, body: Value) -> Answer {
    app.send(app.request(Method::POST, "/sessions").header("Idempotency-Key", key).json(&body)).await
}

#[tokio::test]
async fn the_same_request_with_the_same_key_creates_one_session_and_is_answered_alike() {
    let app = TestApp::start().await;
    let body = json!({"session_name": "Holidays", "user_id": "alice"});
    let first = create_once(&app, "k-1", body.clone()).await;
    let again = create_once(&app, "k-1", body.clone()).await;
    assert_eq!(first.expect(201), again.expect(201));
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.headers["content-type"], "application/json");
    assert_eq!(first.headers.get("etag"), again.headers.get("etag"));
    create_once(&app, "k-2", body).await.expect(201);
    assert_eq!(ids(&list(&app, "").await).len(), 2);
}

#[tokio::test]
async fn another_request_with_the_same_key_is_refused() {
    let app = TestApp::start().await;
    create_once(&app, "k-1", json!({"session_name": "One"})).await.expect(201);
    let problem = create_once(&app, "k-1", json!({"session_name": "Two"})).await.expect_problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "Idempotency-Key");
    let of_a_team = app.request(Method::POST, "/sessions?type=team").header("Idempotency-Key", "k-1");
    app.send(of_a_team.json(&json!({"session_name": "One"}))).await.expect_problem(422);
    assert_eq!(ids(&list(&app, "").await).len(), 1);
}

#[tokio::test]
async fn a_request_that_was_refused_gives_its_key_back() {
    let app = TestApp::start().await;
    create_once(&app, "k-1", json!({"session_id": ""})).await.expect_problem(422);
    create_once(&app, "k-1", json!({"session_id": "s-1"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_with_one_key_create_one_session() {
    let app = TestApp::start().await;
    let answers = futures::future::join_all((0..8).map(|_| create_once(&app, "k-1", json!({})))).await;
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.expect_problem(409);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(ids(&list(&app, "").await).len(), 1);
}

#[tokio::test]
async fn a_key_whose_request_died_is_usable_again_after_a_minute() {
    let app = TestApp::start().await;
    let started = |seconds: i64| {
        sqlx::query(
            "insert into idempotency_keys (scope, key, fingerprint, created_at) values ('POST /sessions', $1, '', $2)",
        )
        .bind(format!("{seconds}"))
        .bind(clock::now() - TimeDelta::seconds(seconds))
        .execute(app.db())
    };
    started(30).await.unwrap();
    started(61).await.unwrap();
    create_once(&app, "30", json!({})).await.expect_problem(422);
    create_once(&app, "61", json!({})).await.expect(201);
}

#[tokio::test]
async fn keys_are_kept_for_a_day() {
    let app = TestApp::start().await;
    create_once(&app, "old", json!({})).await.expect(201);
    app.execute("update idempotency_keys set created_at = created_at - interval '25 hours'").await;
    create_once(&app, "new", json!({})).await.expect(201);
    assert_eq!(colloquy::testing::idempotency::sweep(&app.app).await.unwrap(), 1);
    let left: Vec<String> = sqlx::query_scalar("select key from idempotency_keys").fetch_all(app.db()).await.unwrap();
    assert_eq!(left, ["new"]);
    app.execute("update idempotency_keys set created_at = created_at - interval '25 hours'").await;
    create_once(&app, "new", json!({"session_name": "Another"})).await.expect(201);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let app = TestApp::start().await;
    for key in ["", "with space", "ключ", &"x".repeat(256)] {
        let value = reqwest::header::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        let request = app.request(Method::POST, "/sessions").header("Idempotency-Key", value);
        app.send(request.json(&json!({}))).await.expect_problem(422);
    }
    let twice = app.request(Method::POST, "/sessions").header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    app.send(twice.json(&json!({}))).await.expect_problem(422);
    assert!(ids(&list(&app, "").await).is_empty());
}

async fn count(app: &TestApp, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(app.db()).await.unwrap()
}

/// What a process leaves that dies after it has created and before it has answered, a minute ago.
async fn lose_answers(app: &TestApp) {
    app.execute(
        "update idempotency_keys set status = null, body = null, etag = null, created_at = created_at - interval '61 s'",
    )
    .await;
}

#[tokio::test]
async fn what_was_created_is_not_created_again_when_its_answer_was_lost() {
    let app = TestApp::start().await;
    app.say("source", "hi").await;
    let requests = [
        ("/sessions", json!({})),
        ("/sessions/said/messages", json!({"messages": [{"role": "user", "content": "said elsewhere"}]})),
        ("/sessions/source/fork", json!({})),
        ("/agents/assistant/sessions/source/fork", json!({})),
    ];
    let post = |(path, body): &(&str, Value)| {
        app.send(app.request(Method::POST, path).header("Idempotency-Key", "k").json(body))
    };
    for request in &requests {
        assert!(post(request).await.status.is_success());
    }
    let sessions = count(&app, "select count(*) from sessions").await;
    let runs = count(&app, "select count(*) from runs").await;
    lose_answers(&app).await;
    for request in &requests {
        let problem = post(request).await.expect_problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("GET /sessions/"), "{problem}");
    }
    assert_eq!(count(&app, "select count(*) from sessions").await, sessions);
    assert_eq!(count(&app, "select count(*) from runs").await, runs);
}

#[tokio::test]
async fn a_request_that_has_lost_its_key_to_another_creates_nothing() {
    let app = TestApp::start().await;
    let mut blocker = colloquy::testing::database::begin(app.db()).await.unwrap();
    sqlx::query("lock table sessions in share mode").execute(&mut *blocker).await.unwrap();
    let slow = create_once(&app, "k", json!({"session_name": "Twice"}));
    let second = async {
        while count(&app, "select count(*) from pg_locks where not granted").await == 0 {
            tokio::task::yield_now().await;
        }
        app.execute("update idempotency_keys set created_at = created_at - interval '61 s'").await;
        let second = create_once(&app, "k", json!({"session_name": "Twice"}));
        let release = async {
            while count(&app, "select count(*) from pg_locks where not granted").await < 2 {
                tokio::task::yield_now().await;
            }
            blocker.commit().await.unwrap();
        };
        tokio::join!(second, release).0
    };
    let (slow, second) = tokio::join!(slow, second);
    slow.expect_problem(409);
    second.expect(201);
    assert_eq!(ids(&list(&app, "").await).len(), 1);
}

#[tokio::test]
async fn messages_and_memories_are_taken_in_once_under_a_key() {
    let app = TestApp::start().await;
    let cases = [
        ("/sessions/s/messages", json!({"messages": [{"role": "user", "content": "said elsewhere"}]}), 201),
        ("/memories", json!({"user_id": "alice", "memory": "Alice lives in Oslo."}), 200),
    ];
    for (path, body, status) in cases {
        let post = || app.send(app.request(Method::POST, path).header("Idempotency-Key", "k").json(&body));
        let (first, again) = (post().await, post().await);
        assert_eq!(first.expect(status), again.expect(status));
        assert_eq!(again.headers["idempotent-replayed"], "true");
    }
    assert_eq!(count(&app, "select count(*) from runs").await, 1);
}
