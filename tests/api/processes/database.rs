//! A database that goes away under two processes, or has no connection left.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{Site, ended, in_background, until};
use crate::support::{OwnPostgres, TestApp, scripted_model::slow_pieces};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgresql_under_two_processes_costs_no_run() {
    let mut own = OwnPostgres::new();
    let site = Site::on(own.database().await).await;
    let (one, other) = site.serve_twice().await;
    site.model.otherwise(|_| slow_pieces(Duration::from_millis(100), "a b c d e f"));
    let paths = [in_background(&one, "background").await, in_background(&other, "elsewhere").await];
    let waiting = in_background(&other, "background").await;
    let inline = |server, session| {
        let body = json!({"message": "hi", "session_id": session, "session_state": {"told": true}});
        let request = crate::support::server::Server::run_request(server, &body);
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let restart = async {
        site.model_called(4).await;
        own.stop();
        own.start();
    };
    let (first, second, ()) = tokio::join!(inline(&one, "first"), inline(&other, "second"), restart);
    for run in [first, second] {
        assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("a b c d e f")), "{run}");
    }
    for path in paths.iter().chain([&waiting]) {
        until("the run has ended", async || {
            let answer = other.get(path).await;
            answer.status == 200 && !["PENDING", "RUNNING"].contains(&answer.json()["status"].as_str().unwrap())
        })
        .await;
        assert_eq!(other.get(path).await.expect(200)["status"], "COMPLETED");
    }
    assert_eq!(one.get("/sessions/second").await.expect(200)["session_state"], json!({"told": true}));
    assert_eq!(site.count("select count(*) from run_records where status <> 'COMPLETED'").await, 0);
    assert_eq!(site.count("select count(*) from processes").await, 2);
    for session in ["first", "second", "background"] {
        let next = one.run(json!({"message": "next", "session_id": session})).await;
        assert_eq!(next["seq"], ended(&other, session).await.len(), "{next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_connection_runs_are_refused_and_none_is_lost() {
    let own = OwnPostgres::new();
    let database = own.database().await;
    let options = database.options.clone();
    let app = TestApp::on(database, |settings| settings.database.acquire_timeout = Duration::from_millis(300)).await;
    app.say("s", "before").await;
    let mut taken: Vec<PgConnection> = Vec::new();
    while let Ok(connection) = PgConnection::connect_with(&options).await {
        taken.push(connection);
    }
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and not pid = any($1)",
    )
    .bind(pids(&mut taken).await)
    .execute(&mut taken[0])
    .await
    .unwrap();
    until("all connections are taken", async || {
        while let Ok(connection) = PgConnection::connect_with(&options).await {
            taken.push(connection);
        }
        app.get("/ready").await.status == 503
    })
    .await;
    let refused = app.run(json!({"message": "during", "session_id": "s"})).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_problem(503);
    for connection in taken {
        connection.close().await.unwrap();
    }
    assert_eq!(app.say("s", "after").await["seq"], 2);
}

async fn pids(connections: &mut [PgConnection]) -> Vec<i32> {
    let mut pids = Vec::new();
    for connection in connections {
        pids.push(sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await.unwrap());
    }
    pids
}
