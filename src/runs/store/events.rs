//! Stored events of runs, in batches: a row is not one token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::Claim;
use crate::{
    auth::Scope,
    database::interval,
    runs::{
        events::EncodedEvent,
        model::{ProcessId, RunId},
    },
    sessions::SessionId,
};

/// Consecutive events, ready to be stored.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    pub first_index: i32,
    pub names: Vec<String>,
    pub data: Vec<String>,
}

/// Stores events of a run. One that has been taken from this process gets no more.
pub async fn append_events(
    db: &PgPool,
    claim: &Claim,
    batch: &EventBatch,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if batch.names.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        insert into run_events (session_id, seq, first_index, names, data, created_at)
        select session_id, seq, $5, $6, $7, $8
        from runs
        where session_id = $1 and seq = $2 and run_id = $3 and process_id = $4
        on conflict do nothing
        "#,
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        claim.process as Option<ProcessId>,
        batch.first_index,
        &batch.names,
        &batch.data,
        at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The stored events of a run from the one at `from` on: `batches`, as they were stored.
pub async fn events_from(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    seq: i64,
    from: i32,
    batches: i64,
) -> Result<Vec<EncodedEvent>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select e.first_index, e.names, e.data
        from run_events e join runs r using (session_id, seq) join sessions s using (session_id)
        where e.session_id = $1 and e.seq = $2 and ($3::text is null or coalesce(s.user_id, r.user_id) = $3)
          and e.first_index + cardinality(e.names) > $4
        order by e.first_index
        limit $5
        "#,
        session_id.as_str(),
        seq,
        scope.user(),
        from,
        batches,
    )
    .fetch_all(db)
    .await?;
    let events = rows.into_iter().flat_map(|row| {
        let indexes = row.first_index..;
        indexes.zip(row.names).zip(row.data).map(|((index, name), data)| EncodedEvent {
            index,
            name: name.into(),
            data: data.into(),
        })
    });
    Ok(events.filter(|event| event.index >= from).collect())
}

/// How many events of a run are stored, counted by the index of the last one.
pub async fn count_events(db: &PgPool, session_id: &SessionId, seq: i64) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select coalesce(max(first_index + cardinality(names)), 0) as "count!"
        from run_events
        where session_id = $1 and seq = $2
        "#,
        session_id.as_str(),
        seq,
    )
    .fetch_one(db)
    .await
}

/// Removes events that are older than this, a number of batches at a time. Answers how many went.
pub async fn delete_events(db: &PgPool, age: Duration, at_most: i64) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        delete from run_events using (
            select session_id, seq, first_index from run_events
            where created_at < now() - $1::interval
            order by created_at
            limit $2
            for update skip locked
        ) old
        where run_events.session_id = old.session_id
          and run_events.seq = old.seq
          and run_events.first_index = old.first_index
        "#,
        interval(age),
        at_most,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
