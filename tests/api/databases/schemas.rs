//! Installations that share a database, each in a schema of its own.

use serde_json::{Value, json};
use sqlx::PgPool;

use super::{serve, until};
use crate::support::{
    empty_database,
    server::{Server, failure},
    test_database,
};

const LEARN: &str = "COLLOQUY_JOBS__WORKERS";

async fn say(server: &Server, user: &str) {
    let body = json!({"message": "My name is Alice and I live in Paris", "user_id": user, "session_id": user, "update_memory_on_run": true});
    let run = server.run(body).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
}

async fn jobs(server: &Server) -> Vec<Value> {
    let jobs = server.get("/jobs").await.expect(200);
    let is_learning = |job: &&Value| job["kind"] == "learn";
    jobs["data"].as_array().unwrap().iter().filter(is_learning).cloned().collect()
}

async fn memories(server: &Server, user: &str) -> usize {
    server.get(&format!("/memories?user_id={user}")).await.expect(200)["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn two_installations_in_two_schemas_share_nothing() {
    let database = empty_database("encoding 'UTF8' lc_collate 'C' lc_ctype 'C'").await;
    let db = database.pool();
    sqlx::raw_sql("create schema beta").execute(&db).await.unwrap();
    // One is named by the setting, and made; the other by the search path of the URL.
    let alpha = serve(&database.url, &[("COLLOQUY_DATABASE__SCHEMA", "Alpha one")]).await;
    let beta = serve(&format!("{}&options=-csearch_path%3Dbeta", database.url), &[(LEARN, "2")]).await;
    say(&alpha, "of-alpha").await;
    say(&beta, "of-beta").await;
    until("the one with workers has learned", async || {
        memories(&beta, "of-beta").await > 0 && jobs(&beta).await.is_empty()
    })
    .await;
    let waiting = jobs(&alpha).await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((&waiting[0]["attempts"], &waiting[0]["about"]), (&json!(0), &json!("of-alpha")));
    assert_eq!(memories(&alpha, "of-alpha").await, 0);
    assert_eq!((memories(&beta, "of-alpha").await, memories(&alpha, "of-beta").await), (0, 0));
    alpha.get("/sessions/of-beta").await.expect_problem(404);
    assert_eq!(schemas(&db).await, ["Alpha one", "Alpha one_jobs", "beta", "beta_jobs"]);
    drop(alpha);
    let alpha = serve(&database.url, &[("COLLOQUY_DATABASE__SCHEMA", "Alpha one"), (LEARN, "2")]).await;
    until("the other has learned too", async || memories(&alpha, "of-alpha").await > 0).await;
}

/// With something of ours in it.
async fn schemas(db: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select distinct schemaname::text from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_schema_in_a_database_with_an_installation_in_public_is_its_own() {
    let database = test_database().await;
    let public = serve(&database.url, &[]).await;
    let own = serve(&database.url, &[("COLLOQUY_DATABASE__SCHEMA", "own")]).await;
    say(&public, "of-public").await;
    own.get("/sessions/of-public").await.expect_problem(404);
    say(&own, "of-own").await;
    public.get("/sessions/of-own").await.expect_problem(404);
    assert_eq!(jobs(&own).await.len(), 1);
    assert_eq!(jobs(&public).await.len(), 1);
}

#[tokio::test]
async fn a_schema_that_cannot_be_made_or_named_is_refused() {
    let database = test_database().await;
    let db = database.pool();
    let role = format!("{}_guest", database.options.get_database().unwrap());
    let make = format!("create role {role} login; alter role {role} set search_path = public");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&db).await.unwrap();
    let url = format!("{}&user={role}", database.url);
    let refusal = failure(&["migrate"], &[("DATABASE_URL", &url), ("COLLOQUY_DATABASE__SCHEMA", "mine")]);
    assert!(refusal.contains("database.schema") && refusal.contains("create schema"), "{refusal}");
    for name in ["pg_mine", &"x".repeat(60), "information_schema"] {
        let refusal = failure(&["migrate"], &[("DATABASE_URL", &database.url), ("COLLOQUY_DATABASE__SCHEMA", name)]);
        assert!(refusal.contains("database.schema"), "{refusal}");
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop role {role}"))).execute(&db).await.unwrap();
}
