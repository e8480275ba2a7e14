//! Registrations and heartbeats of processes. A process counts as alive as long as it has a row here.

use std::time::Duration;

use sqlx::PgPool;

use crate::{database::interval, model::ProcessId};

/// Registers a process. The registration expires after `lifetime` by the database's clock, unless it is renewed.
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

/// A heartbeat. `false` if others have declared the process dead.
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

/// Whether a process is registered: others have not declared it dead.
pub async fn lives(db: &PgPool, process: ProcessId) -> Result<bool, sqlx::Error> {
    let query = sqlx::query_scalar!(
        r#"select exists (select from processes where process_id = $1) as "lives!""#,
        process as ProcessId
    );
    query.fetch_one(db).await
}

/// Expires the registration of a process that stops. The row stays until another process removes it and finds its runs.
pub async fn leave(db: &PgPool, process: ProcessId) -> Result<(), sqlx::Error> {
    sqlx::query!("update processes set expires_at = '-infinity' where process_id = $1", process as ProcessId)
        .execute(db)
        .await?;
    Ok(())
}

/// Expires the registrations of all processes: for a database that only the calling process can reach.
pub async fn expire_all(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update processes set expires_at = '-infinity'").execute(db).await?;
    Ok(())
}

/// Removes the processes that have left and, if `late`, also those whose heartbeat is overdue. Processes of older
/// builds did not enter their runs into `open_runs`: they are entered here.
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
