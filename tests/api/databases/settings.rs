//! What a role or a database sets for its connections.

use futures::future::join_all;
use serde_json::json;

use super::serve;
use crate::support::{empty_database, server, test_database};

/// What a database may set, and what our connections have nevertheless.
const SETTINGS: [(&str, &str, &str); 12] = [
    ("default_transaction_isolation", "serializable", "read committed"),
    ("default_transaction_deferrable", "on", "off"),
    ("standard_conforming_strings", "off", "on"),
    ("extra_float_digits", "-15", "1"),
    ("array_nulls", "off", "on"),
    ("gin_fuzzy_search_limit", "1", "0"),
    ("statement_timeout", "'2s'", "0"),
    ("lock_timeout", "'1ms'", "0"),
    ("idle_in_transaction_session_timeout", "'1s'", "0"),
    ("idle_session_timeout", "'1s'", "0"),
    ("timezone", "'Asia/Kathmandu'", "UTC"),
    ("datestyle", "'German, DMY'", "ISO, MDY"),
];

#[tokio::test]
async fn settings_of_the_database_do_not_reach_our_connections() {
    let database = test_database().await;
    let db = database.pool();
    let wanted: Vec<_> = SETTINGS.iter().map(|(name, _, wanted)| format!("('{name}', '{wanted}')")).collect();
    // Whoever stores a run is asked what its connection has.
    let watch = format!(
        "create function watch() returns trigger language plpgsql as $$
         declare wrong text;
         begin
             select string_agg(name || ' is ' || current_setting(name), ', ') into wrong
             from (values {}) wanted (name, value)
             where current_setting(name) <> value;
             if wrong is not null then raise exception '%', wrong; end if;
             return new;
         end $$;
         create trigger watch before insert on public.runs for each row execute function watch();",
        wanted.join(", ")
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(watch)).execute(&db).await.unwrap();
    let odd: Vec<_> = SETTINGS.iter().map(|(name, odd, _)| format!("set {name} = {odd}")).collect();
    database.alter(&odd.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let server = serve(&database.url, &[]).await;
    let run = server.run(json!({"message": r"It's a \ back'slash", "session_id": "s"})).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    let sessions = server.get("/sessions?q=slash&session_name=it%27s").await.expect(200);
    assert_eq!(sessions["data"][0]["session_id"], "s", "{sessions}");
}

#[tokio::test]
async fn a_database_with_odd_settings_can_be_migrated() {
    let database = empty_database("encoding 'UTF8' lc_collate 'C' lc_ctype 'C'").await;
    database.alter(&["set standard_conforming_strings = off", "set statement_timeout = '200ms'"]).await;
    database.alter(&["set default_transaction_isolation = serializable", "set lock_timeout = '1ms'"]).await;
    // One waits for the other, longer than the settings allow.
    let migrate = async || {
        let mut command = server::command(&["migrate"]);
        command.env("DATABASE_URL", &database.url);
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    };
    for done in <[_; 2]>::from(tokio::join!(migrate(), migrate())) {
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    database.alter(&["reset statement_timeout", "reset lock_timeout"]).await;
    let run = serve(&database.url, &[]).await.run(json!({"message": "My name is Alice"})).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
}

#[tokio::test]
async fn runs_at_once_do_not_fail_where_serializable_is_the_default() {
    let database = test_database().await;
    database.alter(&["set default_transaction_isolation = serializable"]).await;
    let server = serve(&database.url, &[]).await;
    let runs = join_all((0..24).map(|_| server.run(json!({"message": "hi", "session_id": "s"})))).await;
    for run in runs {
        assert_eq!(run["status"], "COMPLETED", "{run}");
    }
}
