//! Processes whose clocks are not the database's.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Site, ended};
use crate::support::{scripted_model::hang, test_database};

/// The clock of the database goes a day ahead of every process's: whoever measured a lease by its own would take all
/// others for immortal, or by a day behind for dead.
#[tokio::test]
async fn who_is_dead_is_told_by_the_databases_clock_alone() {
    for (ahead, schema) in [("1 day", "ahead"), ("-1 day", "behind")] {
        let database = test_database().await;
        let mut connection = PgConnection::connect_with(&database.options).await.unwrap();
        let name: String = sqlx::query_scalar("select current_database()").fetch_one(&mut connection).await.unwrap();
        let skew = format!(
            "create schema {schema};
             create function {schema}.now() returns timestamptz language sql stable
                 return pg_catalog.now() + interval '{ahead}';
             create function {schema}.clock_timestamp() returns timestamptz language sql volatile
                 return pg_catalog.clock_timestamp() + interval '{ahead}';
             alter database {name} set search_path = {schema}, public, pg_catalog;"
        );
        sqlx::raw_sql(AssertSqlSafe(skew)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let site = Site::on(database).await;
        let (doomed, survivor) = site.serve_twice().await;
        let living = "select count(*) from processes where expires_at > clock_timestamp()
                      and abs(extract(epoch from expires_at - pg_catalog.now())) > 80000";
        assert_eq!(site.count(living).await, 2);
        site.model.then(hang());
        let request = doomed.run_request(&json!({"message": "hi", "session_id": "s"}));
        #[expect(clippy::disallowed_methods, reason = "nobody waits for it")]
        tokio::spawn(request.send());
        site.model_called(1).await;
        doomed.kill();
        assert_eq!(ended(&survivor, "s").await[0]["error"]["type"], "interrupted");
        assert_eq!(site.count(living).await, 1);
    }
}
