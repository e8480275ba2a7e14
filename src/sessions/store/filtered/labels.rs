//! How a list looks for names and metadata.

use sqlx::PgPool;

use super::conditions::{Hit, Selection};
use crate::sessions::store::estimates::Estimates;

/// Labels of up to this share of all sessions are few: they are found first, and their sessions sorted.
///
/// PostgreSQL knows a sample of a hundred values. When one of these fits it takes a hundredth of all for fitting, though
/// that one may be alone, and would walk through all sessions to find it.
const FEW: f64 = 0.02;

/// Whether few sessions have the labels that are asked for; `false` where none are.
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
        selection.write_label_conditions(sql, hit);
    });
    let (all, found) = estimates.read(db).await?;
    Ok(found.iter().all(|found| *found <= FEW * all))
}
