//! The planner's row estimates.

use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

use crate::model::Scope;

/// Asks the planner how many rows each of several statements returns, in one `explain`. Estimates may be about all
/// tenants, as the indexes on words and labels are: nothing is read.
pub(super) struct Estimates(QueryBuilder<Postgres>);

pub(super) struct Estimated {
    /// The sessions of all tenants.
    pub(super) all: f64,
    pub(super) of_tenant: f64,
    /// One for each statement that was added, in order.
    pub(super) others: Vec<f64>,
}

impl Estimates {
    pub(super) fn new(scope: &Scope) -> Self {
        let mut sql = QueryBuilder::new("explain (format json) select array(select 1 from session_labels), ");
        sql.push("array(select 1 from session_labels where tenant_id = ").push_bind(scope.tenant()).push(")");
        Self(sql)
    }

    /// Adds `select 1 from …`, of which `write` writes the rest. The tenant is `$1`.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut QueryBuilder<Postgres>)) {
        self.0.push(", array(select 1 from ");
        write(&mut self.0);
        self.0.push(")");
    }

    /// The prepared `explain` is cached, but it plans the statements anew on each execution.
    pub(super) async fn read(mut self, db: &PgPool) -> Result<Estimated, sqlx::Error> {
        let Json(plan): Json<Value> = self.0.build_query_scalar().fetch_one(db).await?;
        let plans = plan[0]["Plan"]["Plans"].as_array().into_iter().flatten();
        let mut rows = plans.map(|plan| plan["Plan Rows"].as_f64().unwrap_or(f64::INFINITY));
        let mut next = || rows.next().unwrap_or(f64::INFINITY);
        let (all, of_tenant) = (next(), next());
        Ok(Estimated { all, of_tenant, others: rows.collect() })
    }
}
