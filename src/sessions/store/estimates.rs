//! The planner's row estimates.

use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

/// Asks the planner how many rows each of several statements returns, in one `explain`.
pub(super) struct Estimates(QueryBuilder<Postgres>);

impl Estimates {
    /// The first estimate is for a whole table.
    pub(super) fn beside_all_of(table: &'static str) -> Self {
        let mut sql = QueryBuilder::new("explain (format json) select array(select 1 from ");
        sql.push(table).push(")");
        Self(sql)
    }

    /// Adds `select 1 from …`, of which `write` writes the rest.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut QueryBuilder<Postgres>)) {
        self.0.push(", array(select 1 from ");
        write(&mut self.0);
        self.0.push(")");
    }

    /// The estimate for the table, and one for each statement, in order. The prepared `explain` is cached, but it plans
    /// the statements anew on each execution.
    pub(super) async fn read(mut self, db: &PgPool) -> Result<(f64, Vec<f64>), sqlx::Error> {
        let Json(plan): Json<Value> = self.0.build_query_scalar().fetch_one(db).await?;
        let plans = plan[0]["Plan"]["Plans"].as_array().into_iter().flatten();
        let mut rows = plans.map(|plan| plan["Plan Rows"].as_f64().unwrap_or(f64::INFINITY));
        Ok((rows.next().unwrap_or(f64::INFINITY), rows.collect()))
    }
}
