//! Orphaned runs: finding them, and putting background runs back into the queue.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::{
    database::interval,
    model::{Claim, ProcessId, RunId, SessionId, TenantId},
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
            tenant_id: TenantId::stored(row.tenant_id),
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
            select session_id from sessions where tenant_id = $1 and session_id = $2 for no key update
        )
        update open_runs q set
            status = 'PENDING',
            process_id = null,
            attempts = attempts - $6::boolean::integer,
            failures = case when $7 then least(failures + 1, 100) else failures end,
            not_before = case when $7 then now() + least(interval '1 s' * 2 ^ least(failures, 10), interval '1 min') end,
            declined_by = case when $8::uuid is null then declined_by else declined_by || $8 end,
            declined_at = case when $8 is null then declined_at else coalesce(declined_at, now()) end,
            declined_because = coalesce($9, declined_because)
        from session
        where q.tenant_id = $1 and q.session_id = $2 and q.seq = $3 and q.run_id = $4
          and q.status in ('PENDING', 'RUNNING') and q.process_id is not distinct from $5 and q.background
        "#,
        claim.tenant_id.as_str(),
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
        select tenant_id, session_id, seq, run_id as "run_id: RunId", coalesce(declined_because, '') as "because!",
               requested_webhook(request) as webhook_url
        from open_runs
        where background and process_id is null and $1 = any(declined_by)
          and declined_at < clock_timestamp() - $2::interval
        "#,
        process as ProcessId,
        interval(patience),
    )
    .fetch_all(db)
    .await?;
    let declined = rows.into_iter().map(|row| Declined {
        claim: Claim {
            tenant_id: TenantId::stored(row.tenant_id),
            session_id: SessionId::stored(row.session_id),
            seq: row.seq,
            run_id: row.run_id,
            process: None,
        },
        because: row.because,
        webhook_url: row.webhook_url,
    });
    Ok(declined.collect())
}
