//! Runs and messages in PostgreSQL: SQL in, rows out.
//!
//! Here are the statements of a run on its way; `reading` has those for clients, and `rows` what they have in common.
//!
//! Statements on a run that is being executed take a [`Claim`], which only [`accept`] gives out, after it has checked
//! that the caller may write to the session. All others take a `Scope`.

mod events;
mod reading;
mod rows;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{
    context::History,
    model::{ContextRecord, Message, RunError, RunId, RunMetrics, RunStatus},
    wire::ToolExecution,
};
use crate::{
    auth::UserId,
    llm::ModelInfo,
    sessions::{SessionId, SessionType},
};

pub use events::delete_events;
pub use reading::{MAX_RUNS, RunFilter, conversation, find, list, messages_of};
use rows::select_messages;

/// The right to execute and settle one run.
#[derive(Clone, Debug)]
pub struct Claim {
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
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
    pub at: DateTime<Utc>,
}

/// Stores the run and its message. `None`: the session is of another type or not the caller's to write.
pub async fn accept(db: &PgPool, run: &NewRun) -> Result<Option<(Claim, Map<String, Value>)>, sqlx::Error> {
    let accepted = sqlx::query_file!(
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
    )
    .fetch_optional(db)
    .await?;
    Ok(accepted.map(|row| {
        let claim = Claim { session_id: run.session_id.clone(), seq: row.seq, run_id: run.run_id };
        (claim, row.session_state.0)
    }))
}

/// What a run ends with.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub status: RunStatus,
    pub content: Option<&'a str>,
    pub error: Option<&'a RunError>,
    pub model: &'a ModelInfo,
    pub metrics: &'a RunMetrics,
    /// The session's new state, where the run changed it.
    pub session_state: Option<&'a Map<String, Value>>,
    pub context: &'a ContextRecord,
    pub tools: &'a [ToolExecution],
    /// What was said after the user's message.
    pub messages: &'a [Message],
    pub text_config: &'a str,
    pub at: DateTime<Utc>,
}

/// Ends the run. Answers the session's state; `None`: the run has ended already, or is gone.
pub async fn settle(
    connection: &mut PgConnection,
    claim: &Claim,
    end: &Settlement<'_>,
) -> Result<Option<Map<String, Value>>, sqlx::Error> {
    let row = sqlx::query_file!(
        "src/runs/settle.sql",
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        end.status as RunStatus,
        end.content,
        end.error.map(Json) as _,
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
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.session_state.0))
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
        where session_id = $1 and runs.seq = $2 and runs.run_id = $3
        for update of sessions
        "#,
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
    )
    .fetch_optional(connection)
    .await?;
    Ok(state.map(|state| state.0))
}

/// Ends every run that has not ended, whosever it is.
pub async fn end_unfinished(db: &PgPool, error: &RunError, at: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let ended = sqlx::query!(
        "update runs set status = 'ERROR', error = $1, finished_at = $2 where status in ('PENDING', 'RUNNING')",
        Json(error) as _,
        at,
    )
    .execute(db)
    .await?;
    Ok(ended.rows_affected())
}

/// The newest completed runs before the claimed one, at most `runs` of them, oldest first.
pub async fn history(db: &PgPool, claim: &Claim, runs: i64) -> Result<History, sqlx::Error> {
    let rows = select_messages!(
        r"
        from (
            select past.seq
            from runs past
            where past.session_id = $1 and past.seq < $2 and past.status = 'COMPLETED'
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
    )
    .fetch_all(db)
    .await?;
    Ok(History::new(rows.into_iter().map(|row| (row.seq, row.into_message())).collect()))
}
