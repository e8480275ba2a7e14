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
        "update processes set expires_at = now() + $2::interval where process_id = $1",
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

/// Removes the processes that have left and, if `late`, also those whose heartbeat is overdue.
pub async fn bury(db: &PgPool, late: bool) -> Result<Vec<ProcessId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        delete from processes using (
            select process_id from processes
            where expires_at < clock_timestamp() and ($1 or expires_at = '-infinity')
            for update skip locked
        ) late
        where processes.process_id = late.process_id
        returning processes.process_id as "process_id: ProcessId"
        "#,
        late,
    )
    .fetch_all(db)
    .await
}
