//! How a list looks for names and metadata.

use sqlx::{PgPool, QueryBuilder};

use super::conditions::{Hit, Selection, Values};
use crate::sessions::store::estimates::Estimates;

/// PostgreSQL knows a hundred values. When one of these fits it takes a hundredth of all for fitting, though that one may
/// be alone, and would walk through all sessions to find it. Up to this share some of the labels are looked at.
const IN_DOUBT: f64 = 0.02;
/// How many.
const LOOKED_AT: f64 = 10_000.0;

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
    // To find so many takes as long as to walk past as many for a page of them.
    let few = (10.0 * all).sqrt();
    if found <= few || found > IN_DOUBT * all {
        return Ok(found <= few);
    }
    // Estimates are in doubt among more than 25,000 alone, so it is less than one.
    let share = LOOKED_AT / all;
    Ok(count_of_some(db, selection, hit, share).await? <= few * share)
}

/// How many fit among about this share of all labels.
async fn count_of_some(db: &PgPool, selection: Selection<'_>, hit: Hit, share: f64) -> Result<f64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*)::float8 from session_labels l tablesample system (");
    sql.push_bind(100.0 * share).push("::float8::real) where true");
    selection.write_label_conditions(&mut sql, hit, Values::Shown);
    sql.build_query_scalar().fetch_one(db).await
}

/// Whether there is but one way to find few, whatever the values: the index of metadata, or that of names, which takes three
/// characters in a row. With both, or with a user, it depends on which of them fewer have.
pub(super) fn are_found_by_one_index(selection: Selection<'_>) -> bool {
    let filter = selection.filter;
    let is_found = match &filter.session_name {
        Some(name) => {
            let has_three = |part: &str| part.chars().count() >= 3;
            filter.metadata.is_empty() && name.split(|c: char| !c.is_alphanumeric()).any(has_three)
        }
        None => filter.metadata.len() == 1,
    };
    is_found && selection.scope.user().is_none()
}
