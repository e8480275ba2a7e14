//! How a list finds names and metadata.

use sqlx::{PgPool, QueryBuilder};

use super::conditions::{Hit, Selection, Values};
use crate::sessions::store::estimates::Estimates;

/// PostgreSQL's statistics hold a hundred values. If one of these matches, the estimate is a hundredth of all rows,
/// though it may be the only match, and all sessions would be walked to find it. Up to this share, a sample of the
/// labels is read.
const IN_DOUBT: f64 = 0.02;
/// Number of labels in the sample.
const LOOKED_AT: f64 = 10_000.0;

/// Whether few sessions have the requested labels; `false` if no labels are requested. Few sessions are found first and
/// then sorted; for many, all sessions are walked in order.
pub(super) async fn are_few(db: &PgPool, selection: Selection<'_>) -> Result<bool, sqlx::Error> {
    let is_asked = |hit: &Hit| match hit {
        Hit::Anything => selection.is_labelled(),
        Hit::Name => true,
        Hit::Message => false,
    };
    // At most one of the places uses labels.
    let Some(hit) = selection.hits().iter().copied().find(is_asked) else { return Ok(false) };
    let mut estimates = Estimates::beside_all_of("session_labels");
    estimates.add(|sql| {
        sql.push("session_labels l where true");
        selection.write_label_conditions(sql, hit, Values::Shown);
    });
    let (all, found) = estimates.read(db).await?;
    let found = found.first().copied().unwrap_or(f64::INFINITY);
    // Break-even: finding this many takes as long as walking the list to a page of them.
    let few = (10.0 * all).sqrt();
    if found <= few || found > IN_DOUBT * all {
        return Ok(found <= few);
    }
    // Only estimates on more than 25,000 labels are in doubt, so the share is less than one.
    let share = LOOKED_AT / all;
    Ok(count_of_some(db, selection, hit, share).await? <= few * share)
}

/// Counts the matches in a sample of about this share of all labels.
async fn count_of_some(db: &PgPool, selection: Selection<'_>, hit: Hit, share: f64) -> Result<f64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*)::float8 from session_labels l tablesample system (");
    sql.push_bind(100.0 * share).push("::float8::real) where true");
    selection.write_label_conditions(&mut sql, hit, Values::Shown);
    sql.build_query_scalar().fetch_one(db).await
}

/// Whether one index is the best to find few sessions, whatever the values: the one on metadata, or the one on names,
/// which needs three consecutive letters or digits. With both, or with a user, it depends on which matches fewer.
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
