//! Stored events of runs. One row holds a batch, not a single token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use serde::{Deserialize, Serialize};

use super::{Event, EventKind};
use crate::{
    clock,
    database::interval,
    model::{Claim, ProcessId, RunId, Scope, SessionId, TenantId},
};

/// Each attempt at a background run numbers its events from a multiple of this on, above all events of earlier
/// attempts, stored or not.
pub const EVENTS_PER_ATTEMPT: i32 = 1_000_000;

/// The first index of the next attempt. `heard` is the index after the last stored event.
pub fn first_of_next_attempt(heard: i32) -> i32 {
    (heard / EVENTS_PER_ATTEMPT + 1).saturating_mul(EVENTS_PER_ATTEMPT)
}

/// An event's stored form. `at` is in Unix seconds, as clients get it.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(with = "chrono::serde::ts_seconds")]
    at: DateTime<Utc>,
    #[serde(flatten)]
    kind: &'a EventKind,
}

#[derive(Deserialize)]
struct Read {
    #[serde(with = "chrono::serde::ts_seconds")]
    at: DateTime<Utc>,
    #[serde(flatten)]
    kind: EventKind,
}

/// An event as JSON.
pub(super) fn write(at: DateTime<Utc>, kind: &EventKind) -> String {
    serde_json::to_string(&Written { at, kind }).unwrap_or_else(|error| {
        tracing::error!(%error, event = kind.name(), "An event cannot be written; readers elsewhere will miss it.");
        "{}".into()
    })
}

/// Parses a stored event. One that cannot be parsed becomes [`EventKind::Unknown`], which readers skip: they still get
/// the run's outcome.
fn read(index: i32, stored: &str) -> Event {
    let Read { at, kind } = serde_json::from_str(stored).unwrap_or(Read { at: clock::now(), kind: EventKind::Unknown });
    Event { index, at, kind }
}

/// Consecutive events, ready to be stored.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    pub first_index: i32,
    pub names: Vec<String>,
    pub data: Vec<String>,
}

/// Stores events of a run. Stores nothing if the run no longer belongs to the claim.
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
        insert into run_events (tenant_id, session_id, seq, first_index, names, data, created_at)
        select tenant_id, session_id, seq, $6, $7, $8, $9
        from open_runs
        where tenant_id = $1 and session_id = $2 and seq = $3 and run_id = $4 and process_id = $5
        on conflict (tenant_id, session_id, seq, first_index) do nothing
        "#,
        claim.tenant_id.as_str(),
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

/// Stores the events that follow the end of a run: what was done for a caller who waits for it.
pub async fn append_after_end(
    db: &PgPool,
    claim: &Claim,
    batch: &EventBatch,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into run_events (tenant_id, session_id, seq, first_index, names, data, created_at)
        select tenant_id, session_id, seq, $5, $6, $7, $8
        from runs join outcomes using (tenant_id, session_id, seq)
        where tenant_id = $1 and session_id = $2 and seq = $3 and run_id = $4
        on conflict (tenant_id, session_id, seq, first_index) do nothing
        "#,
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        batch.first_index,
        &batch.names,
        &batch.data,
        at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Events that were read, and their stored size.
#[derive(Debug)]
pub struct Stored {
    pub events: Vec<Event>,
    pub bytes: usize,
}

/// The stored events of a run from index `from` on, at most `batches` rows of them. Events of superseded attempts are
/// left out.
pub async fn events_from(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    seq: i64,
    from: i32,
    batches: i64,
) -> Result<Stored, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select e.first_index, e.names, e.data
        from run_events e
        join runs r using (tenant_id, session_id, seq)
        join sessions s using (tenant_id, session_id)
        where e.tenant_id = $1 and e.session_id = $2 and e.seq = $3
          and ($4::text is null or coalesce(s.user_id, r.user_id) = $4)
          and e.first_index + cardinality(e.names) > $5
          and e.first_index >= (
              select max(newest.first_index) / $7 * $7 from run_events newest
              where newest.tenant_id = $1 and newest.session_id = $2 and newest.seq = $3
          )
        order by e.first_index
        limit $6
        "#,
        scope.tenant(),
        session_id.as_str(),
        seq,
        scope.user(),
        from,
        batches,
        EVENTS_PER_ATTEMPT,
    )
    .fetch_all(db)
    .await?;
    let bytes = rows.iter().flat_map(|row| &row.data).map(String::len).sum();
    let events = rows.into_iter().flat_map(|row| {
        let indexes = row.first_index..;
        indexes.zip(row.data).map(|(index, stored)| read(index, &stored)).collect::<Vec<_>>()
    });
    Ok(Stored { events: events.filter(|event| event.index >= from).collect(), bytes })
}

/// The number of stored events of a run, by the index of the last one.
pub async fn count_events(
    db: &PgPool,
    tenant: &TenantId,
    session_id: &SessionId,
    seq: i64,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select coalesce(max(first_index + cardinality(names)), 0) as "count!"
        from run_events
        where tenant_id = $1 and session_id = $2 and seq = $3
        "#,
        tenant.as_str(),
        session_id.as_str(),
        seq,
    )
    .fetch_one(db)
    .await
}

/// Deletes up to `at_most` batches of events that are older than `age`. Returns how many were deleted.
///
/// Tenant by tenant, which the index finds one after the other: without that, it would be read as a whole.
pub async fn delete_events(db: &PgPool, age: Duration, at_most: i64) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        with recursive tenant as (
            select min(tenant_id) as tenant_id from run_events
            union all
            select (select min(e.tenant_id) from run_events e where e.tenant_id > tenant.tenant_id)
            from tenant
            where tenant.tenant_id is not null
        )
        delete from run_events e
        using (
            select old.tenant_id, old.session_id, old.seq, old.first_index
            from tenant
            cross join lateral (
                select tenant_id, session_id, seq, first_index
                from run_events
                where tenant_id = tenant.tenant_id and created_at < now() - $1::interval
                order by created_at
                limit $2
            ) old
            limit $2
        ) old
        where e.tenant_id = old.tenant_id and e.session_id = old.session_id and e.seq = old.seq
          and e.first_index = old.first_index
        "#,
        interval(age),
        at_most,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
