//! Signs of life of the processes, and what dead ones left behind.

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use super::Claim;
use crate::{
    database::interval,
    runs::model::{ProcessId, RunId},
    sessions::SessionId,
};

/// Enters a process among the living, for `lifetime` by the database's clock.
pub async fn enter(db: &PgPool, process: ProcessId, lifetime: Duration, oldest_run: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into processes (process_id, expires_at, oldest_run, started_at)
        values ($1, clock_timestamp() + $2::interval, $3, now())
        "#,
        process as ProcessId,
        interval(lifetime),
        oldest_run as RunId,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A sign of life. `false`: the others have taken the process for dead.
pub async fn renew(
    db: &PgPool,
    process: ProcessId,
    lifetime: Duration,
    oldest_run: RunId,
) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query!(
        "update processes set expires_at = clock_timestamp() + $2::interval, oldest_run = $3 where process_id = $1",
        process as ProcessId,
        interval(lifetime),
        oldest_run as RunId,
    )
    .execute(db)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

pub async fn leave(db: &PgPool, process: ProcessId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from processes where process_id = $1", process as ProcessId).execute(db).await?;
    Ok(())
}

/// Declares all processes dead: for a database that only the calling process can reach.
pub async fn expire_all(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update processes set expires_at = '-infinity'").execute(db).await?;
    Ok(())
}

/// A process that has not given a sign of life in time, and the bound of its runs' ids.
#[derive(Debug)]
pub struct DeadProcess {
    pub process: ProcessId,
    pub oldest_run: RunId,
}

/// Dead processes that nobody else is cleaning up after; their rows stay locked until the transaction ends.
pub async fn lock_dead(connection: &mut PgConnection) -> Result<Vec<DeadProcess>, sqlx::Error> {
    sqlx::query_as!(
        DeadProcess,
        r#"
        select process_id as "process: ProcessId", oldest_run as "oldest_run: RunId"
        from processes
        where expires_at < clock_timestamp()
        for update skip locked
        "#,
    )
    .fetch_all(connection)
    .await
}

/// A run of a dead process.
#[derive(Debug)]
pub struct Orphan {
    /// As the dead process held it.
    pub claim: Claim,
    /// Whether another process may execute it.
    pub may_go_on: bool,
    pub attempts: i16,
    /// What was asked for, of a background run.
    pub request: Option<Value>,
}

/// What a dead process executed or waited for.
pub async fn orphans(connection: &mut PgConnection, dead: &DeadProcess) -> Result<Vec<Orphan>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select r.session_id as "session_id!", r.seq as "seq!", r.run_id as "run_id!: RunId",
               r.process_id as "process: ProcessId", q.background and q.attempts < q.max_attempts as "may_go_on!",
               q.attempts as "attempts!", q.request
        from run_queue q join runs r using (session_id, seq)
        where q.process_id = $1 and r.status in ('PENDING', 'RUNNING', 'PAUSED')
        union all
        select r.session_id, r.seq, r.run_id, r.process_id, false, 1::smallint, null
        from runs r
        where r.run_id >= $2 and r.process_id = $1 and r.status in ('RUNNING', 'PAUSED')
          and not exists (select from run_queue q where q.session_id = r.session_id and q.seq = r.seq)
        "#,
        dead.process as ProcessId,
        dead.oldest_run as RunId,
    )
    .fetch_all(connection)
    .await?;
    let orphans = rows.into_iter().map(|row| Orphan {
        claim: Claim {
            session_id: SessionId::stored(row.session_id),
            seq: row.seq,
            run_id: row.run_id,
            process: row.process,
        },
        may_go_on: row.may_go_on,
        attempts: row.attempts,
        request: row.request,
    });
    Ok(orphans.collect())
}

/// Puts a background run back for others to take; it keeps its turn. `uncounted`: what was begun does not count as an
/// attempt. `false`: it was not the claim's any more, or no background run.
pub async fn put_back(connection: &mut PgConnection, claim: &Claim, uncounted: bool) -> Result<bool, sqlx::Error> {
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
        update run_queue set process_id = null, attempts = attempts - $5::boolean::integer
        from run
        where run_queue.session_id = run.session_id and run_queue.seq = run.seq
        "#,
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        claim.process as Option<ProcessId>,
        uncounted,
    )
    .execute(connection)
    .await?;
    Ok(put_back.rows_affected() > 0)
}

pub async fn bury(connection: &mut PgConnection, dead: &DeadProcess) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from processes where process_id = $1", dead.process as ProcessId).execute(connection).await?;
    Ok(())
}
