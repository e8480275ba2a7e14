//! Runs and messages in PostgreSQL: SQL in, rows out.
//!
//! This file has the statements that accept and settle runs, `reading` has those for clients, and `rows` has the row
//! types.
//!
//! Statements on a run that is being executed take a [`Claim`]. A claim goes back to [`accept`], which has checked that
//! the caller may write to the session. All other statements take a `Scope`.

mod reading;
pub mod rows;
mod settling;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};

use crate::model::{Claim, Opening, ProcessId, RunId, SessionId, SessionType, TenantId, UserId};

pub use self::reading::{
    MAX_RUNS, RunFilter, conversation, find, find_by_seq, is_followed, list, messages_after, messages_of,
};
pub use self::settling::{Settled, Settlement, settle};

/// A run to be accepted.
#[derive(Debug)]
pub struct NewRun {
    pub tenant_id: TenantId,
    pub opening: Opening,
    pub session_id: SessionId,
    pub session_type: SessionType,
    /// The session's name, if it has none yet.
    pub session_name: Option<String>,
    /// The session's state, if it is new.
    pub initial_state: Map<String, Value>,
    /// The text search configuration with which the message is indexed.
    pub text_config: String,
    /// The process that accepts the run.
    pub process: ProcessId,
    /// Whether it is a background run: no client waits for it.
    pub background: bool,
    /// Whether it may begin at once if the session is free.
    pub may_begin: bool,
    /// How many runs of the session may wait before this one is refused.
    pub max_waiting: u32,
    pub max_attempts: u16,
    /// The serialized [`RunSpec`](super::spec::RunSpec), with which another process can execute it.
    pub request: Option<Value>,
}

/// An accepted run, which has its number in the session.
#[derive(Debug)]
pub struct Accepted {
    pub claim: Claim,
    /// Whether it may be executed now, by this process.
    pub begins: bool,
    pub session_state: Map<String, Value>,
    /// Whether the session still needs a name or a component: see [`name_session`].
    pub is_unnamed: bool,
}

/// Stores the run and its message. `None` if the process is not registered, or the session has another type, is not
/// writable for the caller, or is too busy.
pub async fn accept(connection: &mut PgConnection, run: &NewRun) -> Result<Option<Accepted>, sqlx::Error> {
    let opening = &run.opening;
    let row = sqlx::query_file!(
        "src/runs/accept.sql",
        run.tenant_id.as_str(),
        run.session_id.as_str(),
        run.session_type as SessionType,
        opening.component_id,
        opening.user_id.as_ref().map(UserId::as_str),
        run.session_name,
        Json(&run.initial_state) as _,
        opening.created_at,
        opening.run_id as RunId,
        opening.input,
        Json(&opening.metadata) as _,
        opening.message_id,
        run.text_config,
        run.process as ProcessId,
        run.background,
        i32::try_from(run.max_waiting).unwrap_or(i32::MAX),
        run.may_begin,
        i16::try_from(run.max_attempts).unwrap_or(i16::MAX),
        run.request,
        opening.forked_from_run_id as Option<RunId>,
        opening.regenerated_from as Option<RunId>,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Accepted {
        claim: Claim {
            tenant_id: run.tenant_id.clone(),
            session_id: run.session_id.clone(),
            seq: row.seq,
            run_id: opening.run_id,
            process: row.begins.then_some(run.process),
        },
        begins: row.begins,
        session_state: row.session_state.0,
        is_unnamed: row.is_unnamed,
    }))
}

/// Gives a session that was created without a name or a component those of its first run.
pub async fn name_session(connection: &mut PgConnection, run: &NewRun) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update sessions set
            component_id = coalesce(component_id, $3),
            session_name = coalesce(session_name, $4),
            named_by = case when session_name is null and $4::text is not null then 'message' else named_by end,
            version = version + 1
        where tenant_id = $1 and session_id = $2
          and (component_id is null or session_name is null and $4::text is not null)
        ",
        run.tenant_id.as_str(),
        run.session_id.as_str(),
        run.opening.component_id,
        run.session_name,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the session's row until the transaction ends, and returns the state to which the run's patches are applied.
/// `None` if the run has ended, is gone, or no longer belongs to the claim.
pub async fn lock_session_state(
    connection: &mut PgConnection,
    claim: &Claim,
) -> Result<Option<Map<String, Value>>, sqlx::Error> {
    let state = sqlx::query_scalar!(
        r#"
        select s.session_state as "state: Json<Map<String, Value>>"
        from sessions s join open_runs q using (tenant_id, session_id)
        where tenant_id = $1 and session_id = $2 and q.seq = $3 and q.run_id = $4
          and q.process_id is not distinct from $5
        for update of s
        "#,
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        claim.process as Option<ProcessId>,
    )
    .fetch_optional(connection)
    .await?;
    Ok(state.map(|state| state.0))
}

/// Whether a missing run was lost in a crash of the database and not deleted. It was lost if its session, which must
/// have existed before the run, has not assigned its number, or has assigned it to another run: the number of a deleted
/// run is never assigned again.
pub async fn was_lost(db: &PgPool, claim: &Claim, run_at: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from sessions s
            where s.tenant_id = $1 and s.session_id = $2 and s.created_at <= $3
              and (
                  s.last_seq < $4
                  or exists (
                      select from runs r
                      where r.tenant_id = $1 and r.session_id = $2 and r.seq = $4 and r.run_id <> $5
                  )
              )
        ) as "exists!"
        "#,
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        run_at,
        claim.seq,
        claim.run_id as RunId,
    )
    .fetch_one(db)
    .await
}

/// Removes a run from its session's history, because the claimed run replaces it. Returns its number if it was there.
pub async fn leave_history(
    connection: &mut PgConnection,
    claim: &Claim,
    run_id: RunId,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        update outcomes o set status = 'REGENERATED'
        from runs r
        where r.tenant_id = $1 and r.session_id = $2 and r.run_id = $3
          and o.tenant_id = $1 and o.session_id = $2 and o.seq = r.seq and o.status = 'COMPLETED'
        returning o.seq
        ",
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        run_id as RunId,
    )
    .fetch_optional(connection)
    .await
}
