//! How a list looks for names and metadata.

use serde_json::Value;
use sqlx::{PgPool, QueryBuilder, types::Json};

use super::conditions::{Hit, Selection};

/// Labels of up to this share of all sessions are few: they are found first, and their sessions sorted.
///
/// PostgreSQL knows a sample of a hundred values. When one of these fits it takes a hundredth of all for fitting, though
/// that one may be alone, and would walk through all sessions to find it.
const FEW: f64 = 0.02;

/// Whether few sessions have the labels that are asked for, by where is looked for them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FewLabels {
    of_filter: bool,
    of_search: bool,
}

impl FewLabels {
    pub(super) async fn among_all(db: &PgPool, selection: Selection<'_>) -> Result<Self, sqlx::Error> {
        let asked = |hit: Hit| match hit {
            Hit::Anything => selection.is_labelled(),
            Hit::Name => true,
            Hit::Message => false,
        };
        let hits: Vec<Hit> = selection.hits().iter().copied().filter(|hit| asked(*hit)).collect();
        if hits.is_empty() {
            return Ok(Self::default());
        }
        let mut sql = QueryBuilder::new("explain (format json) select array(select 1 from session_labels)");
        for hit in &hits {
            sql.push(", array(select 1 from session_labels l where true");
            selection.write_label_conditions(&mut sql, *hit);
            sql.push(")");
        }
        let Json(plan): Json<Value> = sql.build_query_scalar().persistent(false).fetch_one(db).await?;
        let rows = |place: usize| plan[0]["Plan"]["Plans"][place]["Plan Rows"].as_f64().unwrap_or(f64::INFINITY);
        let mut few = Self::default();
        for (hit, place) in hits.iter().zip(1..) {
            let are_few = rows(place) <= FEW * rows(0);
            match hit {
                Hit::Name => few.of_search = are_few,
                Hit::Anything | Hit::Message => few.of_filter = are_few,
            }
        }
        Ok(few)
    }

    pub(super) fn are_found_first(self, hit: Hit) -> bool {
        match hit {
            Hit::Anything => self.of_filter,
            Hit::Name => self.of_search,
            Hit::Message => false,
        }
    }
}
