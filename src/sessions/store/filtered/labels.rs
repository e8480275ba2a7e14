//! How a list finds names and metadata.

use sqlx::{PgPool, QueryBuilder};

use super::conditions::{Hit, Selection, Values};
use crate::sessions::store::estimates::{Estimated, Estimates};

/// PostgreSQL's statistics hold a hundred values. If one of these matches, the estimate is a hundredth of all rows,
/// though it may be the only match, and all sessions would be walked to find it. Up to this share, a sample of the
/// labels is read.
const IN_DOUBT: f64 = 0.02;
/// Number of labels in the sample.
const LOOKED_AT: f64 = 2_000.0;

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
    let mut estimates = Estimates::new(selection.scope);
    // The index finds those of all tenants.
    estimates.add(|sql| {
        sql.push("session_labels l where true");
        selection.write_label_conditions(sql, hit, Values::Shown);
    });
    estimates.add(|sql| {
        sql.push("session_labels l where true");
        selection.write_conditions(sql, "l");
    });
    let Estimated { all, of_tenant, others } = estimates.read(db).await?;
    let [found, walked] = others[..] else { return Ok(false) };
    // Finding one takes as long as walking past two, and a page is full after 21 that match.
    let is_few = |found: f64| 2.0 * found <= walked * (21.0 * all / (found * walked).max(1.0)).min(1.0);
    if is_few(found) || found > IN_DOUBT * all {
        return Ok(is_few(found));
    }
    // Only estimates on more than 25,000 labels are in doubt, so the share is less than one.
    let share = LOOKED_AT / all;
    let found = count_of_some(db, selection, hit, share).await? / share;
    Ok(is_few(found * all / of_tenant))
}

/// Counts the tenant's matches in a sample of about this share of all labels.
async fn count_of_some(db: &PgPool, selection: Selection<'_>, hit: Hit, share: f64) -> Result<f64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*)::float8 from session_labels l tablesample system (");
    sql.push((100.0 * share).min(100.0)).push("::real) where l.tenant_id = ");
    selection.write_tenant(&mut sql);
    selection.write_label_conditions(&mut sql, hit, Values::Walked);
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
