//! Cancel requests: written by the process that receives them, read by the process that executes the run.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::model::{Claim, ProcessId, RunId, Scope, SessionId, TenantId};

/// A run for which a cancel was requested.
#[derive(Debug)]
pub struct Wanted {
    /// The claim as the executing process holds it.
    pub claim: Claim,
    /// Whether a living process executes it or waits for its turn.
    pub is_held: bool,
    /// Background runs only.
    pub webhook_url: Option<String>,
}

/// Marks a run as to be cancelled. `None` if it does not exist or has ended.
pub async fn request_cancel(
    db: &PgPool,
    scope: &Scope,
    run_id: RunId,
    at: DateTime<Utc>,
) -> Result<Option<Wanted>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        update open_runs q set cancel_requested_at = coalesce(q.cancel_requested_at, $4)
        from runs r join sessions s using (tenant_id, session_id)
        where r.tenant_id = $1 and r.run_id = $2 and ($3::text is null or coalesce(s.user_id, r.user_id) = $3)
          and q.tenant_id = $1 and q.session_id = r.session_id and q.seq = r.seq
        returning q.session_id, q.seq, q.process_id as "process: ProcessId",
            exists (
                select from processes p
                where p.process_id = coalesce(q.process_id, q.waiter_id) and p.expires_at > clock_timestamp()
            ) as "is_held!",
            requested_webhook(q.request) as webhook_url
        "#,
        scope.tenant(),
        run_id as RunId,
        scope.user(),
        at,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Wanted {
        claim: Claim {
            tenant_id: scope.tenant_id().clone(),
            session_id: SessionId::stored(row.session_id),
            seq: row.seq,
            run_id,
            process: row.process,
        },
        is_held: row.is_held,
        webhook_url: row.webhook_url,
    }))
}

/// The run whose turn it is in a session.
pub async fn active_run(db: &PgPool, scope: &Scope, session_id: &SessionId) -> Result<Option<RunId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select r.run_id as "run_id: RunId"
        from sessions s
        join runs r on r.tenant_id = s.tenant_id and r.session_id = s.session_id and r.seq = s.active_seq
        where s.tenant_id = $1 and s.session_id = $2 and ($3::text is null or s.user_id = $3 or s.user_id is null)
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
    )
    .fetch_optional(db)
    .await
}

/// The state of a run that this process executes, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    ShallEnd,
    /// Others have declared this process dead and ended the run.
    HasEnded,
}

/// The fates of these runs; deleted ones are left out. No filter by owner: only for runs that this process has claimed,
/// whatever their tenants.
pub async fn look_after(db: &PgPool, runs: &[(&TenantId, RunId)]) -> Result<HashMap<RunId, Fate>, sqlx::Error> {
    let (tenants, ids): (Vec<&str>, Vec<_>) = runs.iter().map(|(tenant, run)| (tenant.as_str(), run.0)).unzip();
    let rows = sqlx::query!(
        r#"
        select r.run_id as "run_id: RunId", q.run_id is null as "has_ended!",
               q.cancel_requested_at is not null as "is_wanted!"
        from unnest($1::text[], $2::uuid[]) as mine (tenant_id, run_id)
        join runs r on r.tenant_id = mine.tenant_id and r.run_id = mine.run_id
        left join open_runs q on q.tenant_id = r.tenant_id and q.session_id = r.session_id and q.seq = r.seq
        "#,
        &tenants as &[&str],
        &ids,
    )
    .fetch_all(db)
    .await?;
    let fates = rows.into_iter().map(|row| {
        let fate = match (row.has_ended, row.is_wanted) {
            (true, _) => Fate::HasEnded,
            (false, true) => Fate::ShallEnd,
            (false, false) => Fate::GoesOn,
        };
        (row.run_id, fate)
    });
    Ok(fates.collect())
}
