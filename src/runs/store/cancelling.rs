//! The wish that a run ends: written by whoever asks, read by the process that executes it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::Claim;
use crate::{
    auth::Scope,
    runs::model::{ProcessId, RunId, RunStatus},
    sessions::SessionId,
};

/// A run that somebody wants to end.
#[derive(Debug)]
pub struct Wanted {
    /// As whoever executes it holds it.
    pub claim: Claim,
    /// Whether a living process executes it or waits for its turn.
    pub is_held: bool,
    /// Where the end of a background run is told.
    pub webhook_url: Option<String>,
}

/// Notes on a run that it shall end. `None`: it is not there, or has ended.
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
               jsonb_path_query_first(q.request, '$.run.webhook_url ? (@.type() == "string")') #>> '{}' as webhook_url
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

/// The run that holds a session.
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

/// What has become of a run that this process executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    ShallEnd,
    /// Others have taken this process for dead and ended the run.
    HasEnded,
}

/// What has become of these runs; one that is not there any more is left out. Only for runs of this process, which its
/// claims name.
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
