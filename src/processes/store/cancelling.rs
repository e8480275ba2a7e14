//! Cancel requests: written by the process that receives them, read by the process that executes the run.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::model::{Claim, ProcessId, RunId, RunStatus, Scope, SessionId};

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
        with wanted as (
            update runs r set cancel_requested_at = coalesce(r.cancel_requested_at, $3)
            from sessions s
            where s.session_id = r.session_id and r.run_id = $1 and ($2::text is null or coalesce(s.user_id, r.user_id) = $2)
              and r.status in ('PENDING', 'RUNNING', 'PAUSED')
            returning r.session_id, r.seq, r.process_id
        )
        select w.session_id, w.seq, w.process_id as "process: ProcessId",
               exists (
                   select from processes p
                   where p.process_id = coalesce(w.process_id, q.process_id) and p.expires_at > clock_timestamp()
               ) as "is_held!",
               coalesce(
                   jsonb_path_query_first(q.request, '$.delivery.webhook_url ? (@.type() == "string")'),
                   jsonb_path_query_first(q.request, '$.run.webhook_url ? (@.type() == "string")')
               ) #>> '{}' as webhook_url
        from wanted w left join run_queue q using (session_id, seq)
        "#,
        run_id as RunId,
        scope.user(),
        at,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Wanted {
        claim: Claim { session_id: SessionId::stored(row.session_id), seq: row.seq, run_id, process: row.process },
        is_held: row.is_held,
        webhook_url: row.webhook_url,
    }))
}

/// The run whose turn it is in a session.
pub async fn active_run(db: &PgPool, scope: &Scope, session_id: &SessionId) -> Result<Option<RunId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select r.run_id as "run_id: RunId"
        from sessions s join runs r on r.session_id = s.session_id and r.seq = s.active_seq
        where s.session_id = $1 and ($2::text is null or s.user_id = $2 or s.user_id is null)
        "#,
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

/// The fates of these runs; deleted ones are left out. No filter by owner: only for runs that this process has claimed.
pub async fn look_after(db: &PgPool, runs: &[RunId]) -> Result<HashMap<RunId, Fate>, sqlx::Error> {
    let ids: Vec<_> = runs.iter().map(|run| run.0).collect();
    let rows = sqlx::query!(
        r#"
        select run_id as "run_id: RunId", cancel_requested_at is not null as "is_wanted!", status as "status: RunStatus"
        from runs
        where run_id = any($1)
        "#,
        &ids,
    )
    .fetch_all(db)
    .await?;
    let fates = rows.into_iter().map(|row| {
        let fate = match (row.status.is_final(), row.is_wanted) {
            (true, _) => Fate::HasEnded,
            (false, true) => Fate::ShallEnd,
            (false, false) => Fate::GoesOn,
        };
        (row.run_id, fate)
    });
    Ok(fates.collect())
}
