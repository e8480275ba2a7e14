//! Runs that nobody executes: finding them, and putting background runs back for others to take.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::Claim;
use crate::{
    database::interval,
    runs::model::{ProcessId, RunId},
    sessions::SessionId,
};

/// A run that a process holds which does not live, or does not know it.
#[derive(Debug)]
pub struct Orphan {
    /// As its process held it.
    pub claim: Claim,
    /// The process that executed it or waited for its turn.
    pub holder: ProcessId,
    /// Whether another process may execute it.
    pub may_go_on: bool,
    pub attempts: i16,
    /// Whether somebody wants it to end.
    pub is_cancelled: bool,
    /// Where the end of a background run is told.
    pub webhook_url: Option<String>,
}

/// Open runs whose process does not live, and all that `process` itself holds.
pub async fn orphans(db: &PgPool, process: ProcessId) -> Result<Vec<Orphan>, sqlx::Error> {
    let rows = sqlx::query_file!("src/runs/orphans.sql", process as ProcessId).fetch_all(db).await?;
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

/// Forgets runs that were deleted while they were under way, or ended by a process of an older version.
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

/// Why a background run is put back, which decides when it is taken again, and by whom.
#[derive(Clone, Copy, Debug)]
pub enum PutBack<'a> {
    /// Its process has died under it: the attempt counts.
    Abandoned,
    /// Its process stops.
    Interrupted,
    /// Something failed for a moment: it is taken again after a pause, which grows with every failure.
    Failed,
    /// This process cannot execute it, for this reason, and does not take it again.
    Declined { by: ProcessId, because: &'a str },
}

/// Puts a background run back for others to take; it keeps its turn. `false`: it was not the claim's any more, or no
/// background run.
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

/// A background run that nobody could execute.
#[derive(Debug)]
pub struct Declined {
    pub claim: Claim,
    pub because: String,
    pub webhook_url: Option<String>,
}

/// Background runs that `process` has declined and that nobody else has taken for so long.
pub async fn declined(db: &PgPool, process: ProcessId, patience: Duration) -> Result<Vec<Declined>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select session_id, seq, run_id as "run_id: RunId", coalesce(declined_because, '') as "because!",
               jsonb_path_query_first(request, '$.run.webhook_url ? (@.type() == "string")') #>> '{}' as webhook_url
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
