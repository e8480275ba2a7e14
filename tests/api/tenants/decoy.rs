//! All tests run beside a decoy, a second tenant with the same ids (`tests/api/support/database/decoy.sql`). Here: that
//! it is there, and that nothing changes it.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

use super::{
    scenario::{Scenario, settings},
    tenant_tables,
};
use crate::support::TestApp;

/// What the decoy never has, because it would be work for the workers, and where work may end what it has: vectors of a
/// model that is used no longer are deleted for all.
const WITHOUT: [&str; 4] = ["open_runs", "memory_turns", "unembedded_sessions", "message_vectors"];

/// All that the decoy has, a line for each row.
async fn belongings(db: &PgPool) -> BTreeSet<String> {
    let tables = tenant_tables();
    let tables = tables.iter().filter(|table| !WITHOUT.contains(&table.as_str()));
    let rows = tables.map(|table| {
        // Words and vectors are derived, and made anew for all tenants when the settings change.
        let row = "to_jsonb(t) - array['words', 'tokens', 'embedding', 'embedding_model']";
        format!("select '{table}: ' || ({row})::text from public.{table} t where tenant_id = 'decoy'")
    });
    let rows = rows.collect::<Vec<_>>().join(" union all ");
    sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(db).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn nothing_that_one_tenant_does_changes_what_another_has() {
    let app = TestApp::with(settings).await;
    let before = RefCell::new(BTreeSet::new());
    let scenario = Scenario::new(&app, async |asked: &str| {
        let now = belongings(app.db()).await;
        let lost: Vec<String> = before.borrow().difference(&now).cloned().collect();
        assert_eq!(lost, [""; 0], "after {asked}");
        before.replace(now);
    });
    assert_eq!(scenario.play().await, [""; 0], "not every route was used");
    let kept = before.into_inner();
    for table in tenant_tables().iter().filter(|table| !WITHOUT.contains(&table.as_str())) {
        let begin = format!("{table}: ");
        assert!(kept.iter().any(|row| row.starts_with(&begin)), "the decoy has nothing in {table}");
    }
}

#[tokio::test]
async fn the_decoy_has_the_same_ids_and_other_contents() {
    let app = TestApp::start().await;
    let run = app.say("s", "I like tea").await;
    app.post("/memories", json!({"user_id": "alice", "memory": "Alice likes tea."})).await.expect(200);
    let rows = "select r.tenant_id, r.run_id::text, m.content, e.memory from public.runs r
                join public.messages m using (tenant_id, session_id, seq) join public.memories e using (tenant_id)
                order by r.tenant_id, m.index";
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(rows).fetch_all(app.db()).await.unwrap();
    let expected = [("decoy", "decoy "), ("default", "")].into_iter().flat_map(|(tenant, before)| {
        ["I like tea", "Hello! You said: I like tea"].map(|content| {
            let run_id = run["run_id"].as_str().unwrap().to_owned();
            (tenant.to_owned(), run_id, format!("{before}{content}"), format!("{before}Alice likes tea."))
        })
    });
    assert_eq!(rows, expected.collect::<Vec<_>>());
}

/// So that any test fails whose statement forgets the tenant.
#[tokio::test]
async fn a_statement_that_touches_what_is_the_decoys_fails() {
    let app = TestApp::start().await;
    app.run(json!({"message": "I like tea", "session_id": "s", "user_id": "alice", "stream": true})).await.events();
    app.post("/memories", json!({"user_id": "alice", "memory": "Alice likes tea."})).await.expect(200);
    for statement in [
        "update sessions set session_name = 'mine' where session_id = 's'",
        "delete from sessions where session_id = 's'",
        "delete from runs where session_id = 's'",
        "update outcomes set content = 'mine' where session_id = 's'",
        "delete from run_events where session_id = 's'",
        "update memories set memory = 'mine' where user_id = 'alice'",
        "delete from memories where user_id = 'alice'",
    ] {
        let failed = sqlx::query(statement).execute(&app.app.db).await.unwrap_err().to_string();
        assert!(failed.contains("another tenant's"), "{statement}: {failed}");
    }
}
