//! `kill -9` at every instant of a run: it has one outcome, and its session is free again.

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};

use super::{LEASE, Site, ended, until};
use crate::support::{
    scripted_model::{Behaviour, hang, reply_with_tool_call},
    server::Server,
};

/// A run that is sent and not waited for: its process will not be there to answer.
fn send(server: &Server) {
    let request = server.run_request(&json!({"message": "hi", "session_id": "s"}));
    #[expect(clippy::disallowed_methods, reason = "nobody waits for it")]
    tokio::spawn(request.send());
}

/// Holds the session's row, on which accepting and settling have to wait.
async fn hold_session(site: &Site) -> Transaction<'static, Postgres> {
    let mut holder = colloquy::testing::database::begin(&site.db).await.unwrap();
    sqlx::query("select from sessions where session_id = 's' for update").execute(&mut *holder).await.unwrap();
    holder
}

/// What has become of the runs, and that the session takes another one.
async fn outcomes(survivor: &Server, death: Instant) -> Vec<(Value, Value)> {
    let runs = ended(survivor, "s").await;
    // A second for those who look, and for a machine that is busy.
    assert!(death.elapsed() < LEASE * 2, "the session was taken for {:?}", death.elapsed());
    let next = survivor.run(json!({"message": "next", "session_id": "s"})).await;
    assert_eq!((&next["status"], &next["seq"]), (&json!("COMPLETED"), &json!(runs.len() + 1)), "{next}");
    let messages = survivor.get("/sessions/s/runs").await.expect(200);
    for run in messages.as_array().unwrap() {
        let answers = run["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "assistant");
        assert_eq!(answers.count(), usize::from(run["status"] == "COMPLETED"), "{run}");
    }
    runs.into_iter().map(|run| (run["status"].clone(), run["error"]["type"].clone())).collect()
}

fn interrupted() -> (Value, Value) {
    (json!("ERROR"), json!("interrupted"))
}

fn completed() -> (Value, Value) {
    (json!("COMPLETED"), Value::Null)
}

#[tokio::test]
async fn killed_while_it_accepts() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    survivor.run(json!({"message": "first", "session_id": "s"})).await;
    let holder = hold_session(&site).await;
    send(&doomed);
    site.blocked(1).await;
    doomed.kill();
    let death = Instant::now();
    // PostgreSQL goes on with the statement of a process that is gone.
    holder.rollback().await.unwrap();
    until("the run is stored", async || site.count("select count(*) from runs").await == 2).await;
    assert_eq!(outcomes(&survivor, death).await, [completed(), interrupted()]);
}

#[tokio::test]
async fn killed_while_the_model_thinks_and_others_wait() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    site.model.then(hang());
    send(&doomed);
    site.model_called(1).await;
    send(&doomed);
    until("the second run waits", async || {
        site.count("select count(*) from open_runs where status = 'PENDING'").await == 1
    })
    .await;
    let request = survivor.run(json!({"message": "third", "session_id": "s"}));
    let killing = async {
        until("the third run waits", async || {
            site.count("select count(*) from open_runs where status = 'PENDING'").await == 2
        })
        .await;
        doomed.kill();
        Instant::now()
    };
    let (third, death) = tokio::join!(request, killing);
    assert_eq!((&third["status"], &third["seq"]), (&json!("COMPLETED"), &json!(3)), "{third}");
    assert_eq!(outcomes(&survivor, death).await, [interrupted(), interrupted(), completed()]);
}

#[tokio::test]
async fn killed_while_a_tool_is_called() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    let Behaviour::Reply { content, tool_calls, pieces, .. } = reply_with_tool_call("get_chat_history", "{}") else {
        unreachable!()
    };
    let pause = std::time::Duration::from_millis(500);
    site.model.then(Behaviour::Reply { content, tool_calls, pause, pieces });
    send(&doomed);
    site.model_called(1).await;
    let mut holder = colloquy::testing::database::begin(&site.db).await.unwrap();
    sqlx::query("lock table messages").execute(&mut *holder).await.unwrap();
    site.blocked(1).await;
    doomed.kill();
    let death = Instant::now();
    holder.rollback().await.unwrap();
    assert_eq!(outcomes(&survivor, death).await, [interrupted()]);
}

#[tokio::test]
async fn killed_while_it_settles() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    site.model.then(crate::support::scripted_model::slow_pieces(std::time::Duration::from_millis(500), "answer"));
    send(&doomed);
    site.model_called(1).await;
    let holder = hold_session(&site).await;
    site.blocked(1).await;
    doomed.kill();
    // Until the survivor wants to end the run, too: the statement that came first has the last word.
    site.blocked(2).await;
    let release = Instant::now();
    holder.rollback().await.unwrap();
    assert_eq!(outcomes(&survivor, release).await, [completed()]);
}

#[tokio::test]
async fn killed_as_soon_as_it_has_answered() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    let run = doomed.run(json!({"message": "hi", "session_id": "s", "session_state": {"a": 1}})).await;
    doomed.kill();
    let death = Instant::now();
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(outcomes(&survivor, death).await, [completed()]);
    assert_eq!(survivor.get("/sessions/s").await.expect(200)["session_state"], json!({"a": 1}));
}
