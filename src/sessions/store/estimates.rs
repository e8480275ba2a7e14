//! What the planner takes statements to find.

use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

/// Asks it how many rows each of some statements has.
pub(super) struct Estimates(QueryBuilder<Postgres>);

impl Estimates {
    /// Of a whole table first.
    pub(super) fn beside_all_of(table: &'static str) -> Self {
        let mut sql = QueryBuilder::new("explain (format json) select array(select 1 from ");
        sql.push(table).push(")");
        Self(sql)
    }

    /// Of `select 1 from …`, where `write` writes the rest.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut QueryBuilder<Postgres>)) {
        self.0.push(", array(select 1 from ");
        write(&mut self.0);
        self.0.push(")");
    }

    /// The rows of the table, and those of each statement, in their order. The statement is kept, and planned each time:
    /// that is what it does.
    pub(super) async fn read(mut self, db: &PgPool) -> Result<(f64, Vec<f64>), sqlx::Error> {
        let Json(plan): Json<Value> = self.0.build_query_scalar().fetch_one(db).await?;
        let plans = plan[0]["Plan"]["Plans"].as_array().into_iter().flatten();
        let mut rows = plans.map(|plan| plan["Plan Rows"].as_f64().unwrap_or(f64::INFINITY));
        Ok((rows.next().unwrap_or(f64::INFINITY), rows.collect()))
    }
}
