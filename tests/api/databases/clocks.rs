//! Processes whose clocks are 400 days ahead of the database's, or behind: what is late, due, expired or stored goes by the
//! database's alone.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use super::{serve, until};
use crate::support::{Answer, TestDatabase, server::Server, test_database};

/// A database whose clock is 400 days before or after every process's.
async fn skewed(days: i32) -> (TestDatabase, PgPool) {
    let database = test_database().await;
    let skew = format!(
        "create function public.now() returns timestamptz language sql stable
             return pg_catalog.now() + interval '{days} days';
         create function public.clock_timestamp() returns timestamptz language sql volatile
             return pg_catalog.clock_timestamp() + interval '{days} days';"
    );
    sqlx::raw_sql(AssertSqlSafe(skew)).execute(&database.pool()).await.unwrap();
    database.alter(&["set search_path = public, pg_catalog"]).await;
    let db = database.pool();
    (database, db)
}

const BOTH: [i32; 2] = [-400, 400];

async fn execute(db: &PgPool, statement: &'static str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(db).await.unwrap();
}

async fn exists(server: &Server, session: &str) -> bool {
    server.get(&format!("/sessions/{session}")).await.status == 200
}

async fn say(server: &Server, session: &str) {
    let run = server.run(json!({"message": "hi", "session_id": session, "user_id": "u"})).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
}

async fn create_once(server: &Server, key: &str) -> Answer {
    let request = server.request(Method::POST, "/sessions").header("Idempotency-Key", key).json(&json!({}));
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn nothing_is_removed_early_and_what_is_due_is_removed() {
    for days in BOTH {
        let (database, db) = skewed(days).await;
        let settings = [("COLLOQUY_RETENTION__SESSIONS_AFTER", "90d"), ("COLLOQUY_RUNS__KEEP_EVENTS", "24h")];
        let server = serve(&database.url, &settings).await;
        for session in ["used", "unused", "expired", "expiring"] {
            say(&server, session).await;
        }
        create_once(&server, "kept").await.expect(201);
        create_once(&server, "old").await.expect(201);
        execute(
            &db,
            "update sessions set updated_at = now() - interval '1 day' where session_id <> 'unused';
             update sessions set updated_at = now() - interval '91 days' where session_id = 'unused';
             update sessions set expires_at = now() - interval '1 minute' where session_id = 'expired';
             update sessions set expires_at = now() + interval '1 day' where session_id = 'expiring';
             update idempotency_keys set created_at = now() - interval '23 hours' where key = 'kept';
             update idempotency_keys set created_at = now() - interval '25 hours' where key = 'old';
             insert into run_events (session_id, seq, first_index, names, data, created_at)
                 select session_id, seq, hours, '{}', '{}', now() - hours * interval '1 hour'
                 from runs, unnest(array[23, 25]) hours where session_id = 'used';",
        )
        .await;
        drop(server);
        let server = serve(&database.url, &[settings[0], settings[1], ("COLLOQUY_JOBS__WORKERS", "1")]).await;
        until("what is due is removed", async || {
            let left = "select (select count(*) from sessions where session_id in ('unused', 'expired'))
                             + (select count(*) from idempotency_keys where key = 'old')
                             + (select count(*) from run_events where first_index = 25)";
            sqlx::query_scalar::<_, i64>(left).fetch_one(&db).await.unwrap() == 0
        })
        .await;
        assert!(exists(&server, "used").await && exists(&server, "expiring").await, "{days}: removed early");
        let first = create_once(&server, "kept").await;
        assert!(first.headers.contains_key("idempotent-replayed"), "{days}: carried out again");
        let kept: i64 = sqlx::query_scalar("select count(*) from run_events").fetch_one(&db).await.unwrap();
        assert_eq!(kept, 1, "{days}: events removed early");
    }
}

/// An older build wrote down when it was done next by its own clock.
#[tokio::test]
async fn housekeeping_goes_on_whatever_an_older_build_had_planned() {
    let database = test_database().await;
    let db = database.pool();
    say(&serve(&database.url, &[]).await, "expired").await;
    execute(
        &db,
        r#"insert into graphile_worker._private_known_crontabs (identifier, known_since, last_execution)
               select name, now() + interval '400 days', now() + interval '400 days' from unnest(array['clean_up', 'tidy_queue']) name;
           select graphile_worker.add_job('colloquy', '{"kind": "clean_up"}', run_at => now() + interval '400 days', job_key => 'clean_up');
           update sessions set expires_at = now() - interval '1 minute';"#,
    )
    .await;
    let server = serve(&database.url, &[("COLLOQUY_JOBS__WORKERS", "1")]).await;
    until("what has expired is removed", async || !exists(&server, "expired").await).await;
}

#[tokio::test]
async fn what_is_stored_has_the_time_of_the_database() {
    for days in BOTH {
        let (database, db) = skewed(days).await;
        let server = serve(&database.url, &[]).await;
        say(&server, "s").await;
        create_once(&server, "k").await.expect(201);
        let remembered = server.post("/memories", json!({"memory": "Likes tea", "user_id": "u"})).await;
        assert!(remembered.status.is_success(), "{}", remembered.text);
        for (table, column) in [
            ("sessions", "created_at"),
            ("sessions", "updated_at"),
            ("runs", "created_at"),
            ("messages", "created_at"),
            ("memories", "created_at"),
            ("idempotency_keys", "created_at"),
            ("processes", "started_at"),
        ] {
            let query = format!("select count(*) from {table} where abs(extract(epoch from {column} - now())) > 60");
            let wrong: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&db).await.unwrap();
            assert_eq!(wrong, 0, "{days}: {table}.{column}");
        }
    }
}

#[tokio::test]
async fn whether_a_time_is_past_is_told_by_the_database() {
    for days in BOTH {
        let (database, db) = skewed(days).await;
        let server = serve(&database.url, &[]).await;
        let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&db).await.unwrap();
        let remember = async |expires_at: DateTime<Utc>| {
            let body: Value =
                json!({"memory": format!("Until {expires_at}"), "user_id": "u", "expires_at": expires_at});
            server.post("/memories", body).await
        };
        let answer = remember(now + TimeDelta::hours(1)).await;
        assert!(answer.status.is_success(), "{days}: {}", answer.text);
        remember(now - TimeDelta::hours(1)).await.expect_problem(422);
    }
}
