//! What is refused at start, in one sentence that says what to do.

use crate::support::{empty_database, server::failure, test_database};

#[tokio::test]
async fn a_database_that_does_not_keep_text_as_utf8_is_refused() {
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
        let database = empty_database(&format!("encoding '{encoding}' lc_collate 'C' lc_ctype 'C'")).await;
        for command in ["migrate", "serve", "work", "reindex"] {
            let refusal = failure(&[command], &[("DATABASE_URL", &database.url)]);
            let says = ["UTF8", encoding, "template0"].iter().all(|word| refusal.contains(word));
            assert!(says, "{command} on {encoding}: {refusal}");
        }
        let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
            .fetch_one(&database.pool())
            .await
            .unwrap();
        assert_eq!(tables, 0, "{encoding}: nothing is made in a database that is refused");
    }
}

#[tokio::test]
async fn a_database_that_is_read_only_is_refused() {
    let database = test_database().await;
    database.alter(&["set default_transaction_read_only = on"]).await;
    let refusal = failure(&["serve"], &[("DATABASE_URL", &database.url)]);
    assert!(refusal.contains("read-only") && refusal.contains("default_transaction_read_only"), "{refusal}");
}

#[tokio::test]
async fn triggers_that_are_switched_off_are_refused() {
    let database = test_database().await;
    database.alter(&["set session_replication_role = replica"]).await;
    let refusal = failure(&["serve"], &[("DATABASE_URL", &database.url)]);
    assert!(refusal.contains("session_replication_role"), "{refusal}");
}

#[tokio::test]
async fn a_search_path_without_a_schema_is_refused() {
    let database = test_database().await;
    database.alter(&["set search_path = nowhere"]).await;
    let refusal = failure(&["migrate"], &[("DATABASE_URL", &database.url)]);
    assert!(refusal.contains("search_path") && refusal.contains("database.schema"), "{refusal}");
}

/// Waiting does not help: these must not take the time of `database.connect_timeout`.
#[tokio::test]
async fn what_cannot_get_better_is_refused_at_once() {
    let url = test_database().await.url;
    let elsewhere = url.replace("/test_", "/missing_");
    for (url, word) in [(elsewhere, "createdb"), (format!("{url}&options=-cno.such_thing"), "options")] {
        let started = std::time::Instant::now();
        let refusal = failure(&["migrate"], &[("DATABASE_URL", &url)]);
        assert!(refusal.contains(word), "{refusal}");
        assert!(started.elapsed().as_secs() < 10, "{refusal}");
    }
}

#[tokio::test]
async fn a_direct_url_to_another_database_is_refused() {
    let (one, other) = (test_database().await, test_database().await);
    let refusal = failure(&["migrate"], &[("DATABASE_URL", &one.url), ("COLLOQUY_DATABASE__DIRECT_URL", &other.url)]);
    assert!(refusal.contains("database.direct_url") && refusal.contains("the same database"), "{refusal}");
}
