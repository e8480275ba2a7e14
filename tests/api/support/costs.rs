//! What a run costs in a short and in a long session.

use super::TestApp;

/// Says the same in the sessions `short` and `long`: both have to send as much to the model, and read as many rows of these
/// tables. The app has one connection, whose counters are reported when it is told to.
pub(crate) async fn assert_short_and_long_cost_the_same(app: &TestApp, tables: &[&str]) {
    assert_eq!(app.app.db.options().get_max_connections(), 1);
    // A run that takes long is looked after, which reads rows as well: one round without that is enough.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let mut costs = Vec::new();
        for session in ["short", "long"] {
            let before = rows_read(app, tables).await;
            app.say(session, "the same message").await;
            let sent = app.model.requests().last().unwrap().to_string().len();
            costs.push((sent, rows_read(app, tables).await - before));
        }
        if costs[0] == costs[1] {
            return;
        }
        rounds.push(costs);
    }
    panic!("characters sent to the model and rows read, in the short and in the long session: {rounds:?}");
}

async fn rows_read(app: &TestApp, tables: &[&str]) -> i64 {
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&app.app.db).await.unwrap();
    sqlx::query_scalar(
        "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
         where relname = any($1)",
    )
    .bind(tables)
    .fetch_one(app.db())
    .await
    .unwrap()
}
