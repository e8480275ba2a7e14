//! How a list looks for names and metadata.

use sqlx::{PgPool, QueryBuilder};

use super::conditions::{Hit, Selection, Values};
use crate::sessions::{filter::SessionFilter, store::estimates::Estimates};

/// PostgreSQL knows a sample of a hundred values. When one of these fits it takes a hundredth of all for fitting, though
/// that one may be alone, and would walk through all sessions to find it. Up to this share it is not believed.
const IN_DOUBT: f64 = 0.02;

/// Whether few sessions have the labels that are asked for; `false` where none are. Few are found first, and their
/// sessions sorted; many are come across by walking through all in order.
pub(super) async fn are_few(db: &PgPool, selection: Selection<'_>) -> Result<bool, sqlx::Error> {
    let is_asked = |hit: &Hit| match hit {
        Hit::Anything => selection.is_labelled(),
        Hit::Name => true,
        Hit::Message => false,
    };
    // Nothing is looked for by its labels in two places.
    let Some(hit) = selection.hits().iter().copied().find(is_asked) else { return Ok(false) };
    let mut estimates = Estimates::beside_all_of("session_labels");
    estimates.add(|sql| {
        sql.push("session_labels l where true");
        selection.write_label_conditions(sql, hit, Values::Shown);
    });
    let (all, found) = estimates.read(db).await?;
    let found = found.first().copied().unwrap_or(f64::INFINITY);
    // What is found takes as long as what is walked past for a page of it.
    let few = (10.0 * all).sqrt().ceil();
    Ok(found <= few || (found <= IN_DOUBT * all && count(db, selection, hit, few).await? < few))
}

/// How many labels fit, at most `limit`.
async fn count(db: &PgPool, selection: Selection<'_>, hit: Hit, limit: f64) -> Result<f64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*)::float8 from (select from session_labels l where true");
    selection.write_label_conditions(&mut sql, hit, Values::Shown);
    sql.push(" limit ").push(limit).push(") found");
    sql.build_query_scalar().persistent(false).fetch_one(db).await
}

/// Whether an index finds them whatever the values: names are found by three characters in a row.
pub(super) fn are_found_by_index(filter: &SessionFilter) -> bool {
    let is_long = |name: &str| name.split(|c: char| !c.is_alphanumeric()).any(|part| part.chars().count() >= 3);
    filter.session_name.as_deref().is_none_or(is_long)
}
