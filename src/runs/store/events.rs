//! Stored events of runs.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Removes events that are older than `before`, a batch at a time. Answers how many batches of events went.
pub async fn delete_events(db: &PgPool, before: DateTime<Utc>, at_most: i64) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        delete from run_events using (
            select session_id, seq, first_index from run_events
            where created_at < $1
            order by created_at
            limit $2
            for update skip locked
        ) old
        where run_events.session_id = old.session_id
          and run_events.seq = old.seq
          and run_events.first_index = old.first_index
        "#,
        before,
        at_most,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
