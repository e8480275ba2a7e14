//! Runs and messages in PostgreSQL: SQL in, rows out.
//!
//! Here are the statements of a run on its way; `turns` has those of runs that wait, `processes` signs of life,
//! `orphans` those of recovery, `cancelling` and `events` what they say, `reading` those for clients, `webhooks` where
//! their ends are told, and `rows` what they have in common.
//!
//! Statements on a run that is being executed take a [`Claim`], which only [`accept`] gives out, after it has checked
//! that the caller may write to the session. All others take a `Scope`.

mod cancelling;
mod events;
mod orphans;
mod past;
mod processes;
mod reading;
mod rows;
mod turns;
mod webhooks;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{
    context::History,
    follow_up::FollowUp,
    model::{ContextRecord, Message, ProcessId, RunError, RunId, RunMetrics, RunStatus},
    wire::ToolExecution,
};
use crate::{
    auth::UserId,
    llm::ModelInfo,
    sessions::{SessionId, SessionType},
};

pub use cancelling::{Fate, Wanted, active_run, look_after, request_cancel};
pub use events::{EventBatch, append_events, count_events, delete_events, events_from};
pub use orphans::{Declined, Orphan, PutBack, declined, forget_closed, orphans, put_back};
pub use past::{past, past_of_next};
pub use processes::{bury, enter, expire_all, leave, lives, renew};
pub use reading::{
    MAX_RUNS, RunFilter, conversation, find, find_by_seq, is_followed, list, messages_after, messages_of,
};
use rows::select_messages;
pub use turns::{Taken, Waiting, begin, count_background, notify, take, waiter};
pub use webhooks::{forget_webhook_url, keep_webhook_url, webhook_url};

/// The right to execute and settle one run.
#[derive(Clone, Debug)]
pub struct Claim {
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
    /// The process that executes it: when others take that one for dead, the right is theirs. `None`: it has not begun.
    pub process: Option<ProcessId>,
}

/// A run to be accepted.
#[derive(Debug)]
pub struct NewRun {
    pub run_id: RunId,
    pub session_id: SessionId,
    pub session_type: SessionType,
    pub component_id: String,
    pub user_id: Option<UserId>,
    /// The name of a session that has none.
    pub session_name: Option<String>,
    /// The state of a session that is new.
    pub initial_state: Map<String, Value>,
    pub input: String,
    pub metadata: Map<String, Value>,
    pub message_id: Uuid,
    /// By which the message's words are told apart.
    pub text_config: String,
    /// The process that takes the run in.
    pub process: ProcessId,
    /// Whether no client waits for it.
    pub background: bool,
    /// Whether it may begin at once where the session is free.
    pub may_begin: bool,
    /// How many runs of the session may wait before this one is refused.
    pub max_waiting: u32,
    pub max_attempts: u16,
    /// By which another process can execute it.
    pub request: Option<Value>,
    pub forked_from_run_id: Option<RunId>,
    pub regenerated_from: Option<RunId>,
    pub at: DateTime<Utc>,
}

/// A run that has its number.
#[derive(Debug)]
pub struct Accepted {
    pub claim: Claim,
    /// The run whose turn it is: this one, or the one that it waits for.
    pub active_seq: i64,
    /// Whether it may be executed now, by this process.
    pub begins: bool,
    pub session_state: Map<String, Value>,
}

/// Stores the run and its message. `None`: the process does not live, or the session is of another type, not the caller's
/// to write, or too busy.
pub async fn accept(connection: &mut PgConnection, run: &NewRun) -> Result<Option<Accepted>, sqlx::Error> {
    let row = sqlx::query_file!(
        "src/runs/accept.sql",
        run.session_id.as_str(),
        run.session_type as SessionType,
        run.component_id,
        run.user_id.as_ref().map(UserId::as_str),
        run.session_name,
        Json(&run.initial_state) as _,
        run.at,
        run.run_id as RunId,
        run.input,
        Json(&run.metadata) as _,
        run.message_id,
        run.text_config,
        run.process as ProcessId,
        run.background,
        i32::try_from(run.max_waiting).unwrap_or(i32::MAX),
        run.may_begin,
        i16::try_from(run.max_attempts).unwrap_or(i16::MAX),
        run.request,
        run.forked_from_run_id as Option<RunId>,
        run.regenerated_from as Option<RunId>,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Accepted {
        claim: Claim {
            session_id: run.session_id.clone(),
            seq: row.seq,
            run_id: run.run_id,
            process: row.begins.then_some(run.process),
        },
        active_seq: row.active_seq,
        begins: row.begins,
        session_state: row.session_state.0,
    }))
}

/// What a run ends with.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub status: RunStatus,
    pub content: Option<&'a str>,
    pub error: Option<&'a RunError>,
    /// Stored beside the error and read by operators alone.
    pub error_detail: Option<&'a str>,
    pub model: &'a ModelInfo,
    pub metrics: &'a RunMetrics,
    /// The session's new state, where the run changed it.
    pub session_state: Option<&'a Map<String, Value>>,
    pub context: &'a ContextRecord,
    pub tools: &'a [ToolExecution],
    /// What was said after the user's message.
    pub messages: &'a [Message],
    pub text_config: &'a str,
    /// The events that are not stored yet.
    pub events: &'a EventBatch,
    pub follow_up: &'a FollowUp,
    /// Whether memories are to be drawn from it later.
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

/// A session after a run of it has ended.
#[derive(Debug)]
pub struct AfterRun {
    pub session_state: Map<String, Value>,
    /// The run whose turn it is now.
    pub next_seq: Option<i64>,
    /// Whether this run is the one that queues a fold.
    pub folds: bool,
}

/// Ends the run. `None`: it has ended already, is gone, or is not the claim's any more.
pub async fn settle(
    connection: &mut PgConnection,
    claim: &Claim,
    end: &Settlement<'_>,
) -> Result<Option<AfterRun>, sqlx::Error> {
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
        end.follow_up.tokens,
        end.follow_up.fold_above.map(|limits| i64::from(limits.high_tokens)),
        end.is_learned_from,
        end.follow_up.fold_above.map(|limits| i64::from(limits.max_runs)),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| AfterRun { session_state: row.session_state.0, next_seq: row.active_seq, folds: row.folds }))
}

/// The state that a run's changes are applied to; the row stays locked until the transaction ends. `None`: the run, or
/// its session, is gone.
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

/// Whether a run that is gone was never stored, as its session says, which was there before: its number is not given out,
/// or is another run's. The number of a run that was erased is not given out again.
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

/// Takes a run out of its session's history: the claimed run has taken its place. Answers its number, if it was there.
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

/// The newest completed runs before the claimed one, at most `runs` of them, oldest first, and not `without`.
pub async fn history(db: &PgPool, claim: &Claim, without: Option<RunId>, runs: i64) -> Result<History, sqlx::Error> {
    let rows = select_messages!(
        r"
        from (
            select past.seq
            from runs past
            where past.session_id = $1 and past.seq < $2 and past.status = 'COMPLETED'
              and past.run_id is distinct from $5
              and exists (select from runs claimed where claimed.session_id = $1 and claimed.seq = $2 and claimed.run_id = $3)
            order by past.seq desc
            limit $4
        ) past
        join messages m on m.session_id = $1 and m.seq = past.seq
        order by m.seq, m.index
        ",
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        runs,
        without as Option<RunId>,
    )
    .fetch_all(db)
    .await?;
    Ok(History::new(rows.into_iter().map(|row| (row.seq, row.into_message())).collect()))
}
