//! Orphaned runs: finding them, and putting background runs back into the queue.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::{
    database::interval,
    model::{Claim, ProcessId, RunId, SessionId},
};

/// A run whose process is dead, or an open run of the process that asks, which has to check its own registry.
#[derive(Debug)]
pub struct Orphan {
    /// The claim as its process held it.
    pub claim: Claim,
    /// The process that executed it or waited for its turn.
    pub holder: ProcessId,
    /// Whether another process may execute it.
    pub may_go_on: bool,
    pub attempts: i16,
    /// Whether a cancel was requested.
    pub is_cancelled: bool,
    /// Background runs only.
    pub webhook_url: Option<String>,
}

/// Open runs whose process is dead, and all open runs that `process` itself holds.
pub async fn orphans(db: &PgPool, process: ProcessId) -> Result<Vec<Orphan>, sqlx::Error> {
    let rows = sqlx::query_file!("src/processes/store/orphans.sql", process as ProcessId).fetch_all(db).await?;
    let orphans = rows.into_iter().map(|row| Orphan {
        claim: Claim {
            session_id: SessionId::stored(row.session_id),
            seq: row.seq,
            run_id: row.run_id,
            process: row.process,
        },
        holder: row.holder,
        may_go_on: row.may_go_on,
        attempts: row.attempts,
        is_cancelled: row.is_cancelled,
        webhook_url: row.webhook_url,
    });
    Ok(orphans.collect())
}

/// Removes runs from `open_runs` that were deleted before they had ended, or were ended by a process of an older build.
pub async fn forget_closed(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        delete from open_runs o
        where not exists (
            select from runs r where r.run_id = o.run_id and r.status in ('PENDING', 'RUNNING', 'PAUSED') offset 0
        )
        "#
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Why a background run is put back. This decides when it is taken again, and by which processes.
#[derive(Clone, Copy, Debug)]
pub enum PutBack<'a> {
    /// Its process has died. Only here the attempt counts.
    Abandoned,
    /// Its process is shutting down.
    Interrupted,
    /// A transient failure: it is taken again after a pause, which grows with every failure.
    Failed,
    /// The process `by` cannot execute it, for the reason `because`, and does not take it again.
    Declined { by: ProcessId, because: &'a str },
}

/// Puts a background run back for other processes; it keeps its turn in the session. `false` if it no longer belongs to
/// the claim, or is no background run.
pub async fn put_back(connection: &mut PgConnection, claim: &Claim, why: PutBack<'_>) -> Result<bool, sqlx::Error> {
    let (declined_by, because) = match why {
        PutBack::Declined { by, because } => (Some(by), Some(because)),
        _ => (None, None),
    };
    let put_back = sqlx::query!(
        r#"
        with session as (
            select session_id from sessions where session_id = $1 for no key update
        ), run as (
            update runs set status = 'PENDING', process_id = null
            from session
            where runs.session_id = $1 and runs.seq = $2 and runs.run_id = $3
              and runs.status in ('PENDING', 'RUNNING') and runs.process_id is not distinct from $4
              and exists (select from run_queue q where q.session_id = $1 and q.seq = $2 and q.background)
            returning runs.session_id, runs.seq
        )
        update run_queue set
            process_id = null,
            attempts = attempts - $5::boolean::integer,
            failures = case when $6 then least(failures + 1, 100) else failures end,
            not_before = case
                when $6 then clock_timestamp() + least(interval '1 s' * 2 ^ least(failures, 10), interval '1 min')
            end,
            declined_by = case when $7::uuid is null then declined_by else declined_by || $7 end,
            declined_at = case when $7 is null then declined_at else coalesce(declined_at, clock_timestamp()) end,
            declined_because = coalesce($8, declined_because)
        from run
        where run_queue.session_id = run.session_id and run_queue.seq = run.seq
        "#,
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        claim.process as Option<ProcessId>,
        !matches!(why, PutBack::Abandoned),
        matches!(why, PutBack::Failed),
        declined_by as Option<ProcessId>,
        because,
    )
    .execute(connection)
    .await?;
    Ok(put_back.rows_affected() > 0)
}

/// A background run that no process could execute.
#[derive(Debug)]
pub struct Declined {
    pub claim: Claim,
    pub because: String,
    pub webhook_url: Option<String>,
}

/// Waiting background runs that `process` has declined, and that were first declined more than `patience` ago.
pub async fn declined(db: &PgPool, process: ProcessId, patience: Duration) -> Result<Vec<Declined>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select session_id, seq, run_id as "run_id: RunId", coalesce(declined_because, '') as "because!",
               coalesce(
                   jsonb_path_query_first(request, '$.delivery.webhook_url ? (@.type() == "string")'),
                   jsonb_path_query_first(request, '$.run.webhook_url ? (@.type() == "string")')
               ) #>> '{}' as webhook_url
        from run_queue
        where process_id is null and $1 = any(declined_by) and declined_at < clock_timestamp() - $2::interval
        "#,
        process as ProcessId,
        interval(patience),
    )
    .fetch_all(db)
    .await?;
    let declined = rows.into_iter().map(|row| Declined {
        claim: Claim { session_id: SessionId::stored(row.session_id), seq: row.seq, run_id: row.run_id, process: None },
        because: row.because,
        webhook_url: row.webhook_url,
    });
    Ok(declined.collect())
}
