//! Signs of life of the processes. A process lives as long as it has a row here.

use std::time::Duration;

use sqlx::PgPool;

use crate::{database::interval, runs::model::ProcessId};

/// Enters a process among the living, for `lifetime` by the database's clock.
pub async fn enter(db: &PgPool, process: ProcessId, lifetime: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into processes (process_id, expires_at, started_at) values ($1, clock_timestamp() + $2::interval, now())",
        process as ProcessId,
        interval(lifetime),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A sign of life. `false`: the others have taken the process for dead.
pub async fn renew(db: &PgPool, process: ProcessId, lifetime: Duration) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query!(
        "update processes set expires_at = clock_timestamp() + $2::interval where process_id = $1",
        process as ProcessId,
        interval(lifetime),
    )
    .execute(db)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Whether a process has not been buried yet.
pub async fn lives(db: &PgPool, process: ProcessId) -> Result<bool, sqlx::Error> {
    let query = sqlx::query_scalar!(
        r#"select exists (select from processes where process_id = $1) as "lives!""#,
        process as ProcessId
    );
    query.fetch_one(db).await
}

/// The process has nothing to say any more. It is not removed: what still names it is found by whoever buries it.
pub async fn leave(db: &PgPool, process: ProcessId) -> Result<(), sqlx::Error> {
    sqlx::query!("update processes set expires_at = '-infinity' where process_id = $1", process as ProcessId)
        .execute(db)
        .await?;
    Ok(())
}

/// Declares all processes dead: for a database that only the calling process can reach.
pub async fn expire_all(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update processes set expires_at = '-infinity'").execute(db).await?;
    Ok(())
}

/// Removes the processes that have left and, if `late`, also those that have not given a sign of life in time. Those of an
/// older version have not noted their runs as open: it is made up for.
pub async fn bury(db: &PgPool, late: bool) -> Result<Vec<ProcessId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with late as (
            select process_id from processes
            where expires_at < clock_timestamp() and ($1 or expires_at = '-infinity')
            for update skip locked
        ), dead as (
            delete from processes using late
            where processes.process_id = late.process_id
            returning processes.process_id, oldest_run
        ), noted as (
            insert into open_runs (run_id)
            select r.run_id
            from dead cross join lateral (
                select run_id from runs
                where run_id >= dead.oldest_run and process_id = dead.process_id and status in ('RUNNING', 'PAUSED')
                offset 0
            ) r
            where dead.oldest_run <> '00000000-0000-0000-0000-000000000000'
            on conflict do nothing
        )
        select process_id as "process_id: ProcessId" from dead
        "#,
        late,
    )
    .fetch_all(db)
    .await
}
