//! Runs and messages in PostgreSQL: SQL in, rows out.
//!
//! This file has the statements that accept and settle runs, `reading` has those for clients, and `rows` has the row
//! types.
//!
//! Statements on a run that is being executed take a [`Claim`]. A claim goes back to [`accept`], which has checked that
//! the caller may write to the session. All other statements take a `Scope`.

mod reading;
pub mod rows;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};

use crate::{
    config::HistorySettings,
    events::EventBatch,
    model::{
        Claim, ContextRecord, Message, ModelInfo, Opening, ProcessId, RunError, RunId, RunMetrics, RunStatus,
        SessionId, SessionType, ToolExecution, UserId,
    },
};

pub use self::reading::{
    MAX_RUNS, RunFilter, conversation, find, find_by_seq, is_followed, list, messages_after, messages_of,
};

/// A run to be accepted.
#[derive(Debug)]
pub struct NewRun {
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
}

/// Stores the run and its message. `None` if the process is not registered, or the session has another type, is not
/// writable for the caller, or is too busy.
pub async fn accept(connection: &mut PgConnection, run: &NewRun) -> Result<Option<Accepted>, sqlx::Error> {
    let opening = &run.opening;
    let row = sqlx::query_file!(
        "src/runs/accept.sql",
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
            session_id: run.session_id.clone(),
            seq: row.seq,
            run_id: opening.run_id,
            process: row.begins.then_some(run.process),
        },
        begins: row.begins,
        session_state: row.session_state.0,
    }))
}

/// The outcome of a run, as it is stored.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub status: RunStatus,
    pub content: Option<&'a str>,
    pub error: Option<&'a RunError>,
    /// Stored with the error, for operators only.
    pub error_detail: Option<&'a str>,
    pub model: &'a ModelInfo,
    pub metrics: &'a RunMetrics,
    /// The session's new state, if the run changed it.
    pub session_state: Option<&'a Map<String, Value>>,
    pub context: &'a ContextRecord,
    pub tools: &'a [ToolExecution],
    /// The messages after the user's message.
    pub messages: &'a [Message],
    pub text_config: &'a str,
    /// The events that are not stored yet.
    pub events: &'a EventBatch,
    /// The tokens of the run in later prompts. `None` if it will be in none.
    pub tokens: Option<i32>,
    /// The session is to be folded when its verbatim part exceeds these limits.
    pub fold_above: Option<HistorySettings>,
    /// Whether memories are to be extracted from it later.
    pub is_learned_from: bool,
    pub at: DateTime<Utc>,
}

#[derive(Serialize)]
struct StoredError<'a> {
    #[serde(flatten)]
    error: &'a RunError,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// The session after one of its runs was settled.
#[derive(Debug)]
pub struct Settled {
    pub session_state: Map<String, Value>,
    /// The run whose turn it is now.
    pub next_seq: Option<i64>,
    /// Whether this run is the one that enqueues a fold.
    pub folds: bool,
}

/// Ends the run. `None` if it has already ended, is gone, or no longer belongs to the claim.
pub async fn settle(
    connection: &mut PgConnection,
    claim: &Claim,
    end: &Settlement<'_>,
) -> Result<Option<Settled>, sqlx::Error> {
    let error = end.error.map(|error| StoredError { error, detail: end.error_detail });
    let row = sqlx::query_file!(
        "src/runs/settle.sql",
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        end.status as RunStatus,
        end.content,
        error.map(Json) as _,
        end.model.id,
        end.model.provider,
        Json(end.metrics) as _,
        end.session_state.map(Json) as _,
        Json(end.context) as _,
        Json(end.tools) as _,
        end.at,
        Json(end.messages) as _,
        Json(&end.metrics.details.model) as _,
        end.text_config,
        claim.process as Option<ProcessId>,
        end.events.first_index,
        &end.events.names,
        &end.events.data,
        end.tokens,
        end.fold_above.map(|limits| i64::from(limits.high_tokens)),
        end.is_learned_from,
        end.fold_above.map(|limits| i64::from(limits.max_runs)),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Settled { session_state: row.session_state.0, next_seq: row.active_seq, folds: row.folds }))
}

/// Locks the session's row until the transaction ends, and returns the state to which the run's patches are applied.
/// `None` if the run has ended, is gone, or no longer belongs to the claim.
pub async fn lock_session_state(
    connection: &mut PgConnection,
    claim: &Claim,
) -> Result<Option<Map<String, Value>>, sqlx::Error> {
    let state = sqlx::query_scalar!(
        r#"
        select sessions.session_state as "state: Json<Map<String, Value>>"
        from sessions join runs using (session_id)
        where session_id = $1 and runs.seq = $2 and runs.run_id = $3 and runs.process_id is not distinct from $4
          and runs.status in ('PENDING', 'RUNNING', 'PAUSED')
        for update of sessions
        "#,
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
            where s.session_id = $1 and s.created_at <= $2
              and (s.last_seq < $3 or exists (select from runs r where r.session_id = $1 and r.seq = $3 and r.run_id <> $4))
        ) as "exists!"
        "#,
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
        "update runs set status = 'REGENERATED' where session_id = $1 and run_id = $2 and status = 'COMPLETED' returning seq",
        claim.session_id.as_str(),
        run_id as RunId,
    )
    .fetch_optional(connection)
    .await
}
