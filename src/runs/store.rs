//! Runs and messages in PostgreSQL: SQL in, rows out.
//!
//! Statements on a run that is being executed take a [`Claim`], which only [`accept`] gives out, after it has checked
//! that the caller may write to the session. All others take a [`Scope`].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{
    context::History,
    model::{
        AnsweredCall, ContextRecord, Message, MessageMetrics, ModelUsage, Role, Run, RunError, RunId, RunMetrics,
        RunStatus,
    },
    wire::ToolExecution,
};
use crate::{
    auth::{Scope, UserId},
    llm::{ModelInfo, ToolCall},
    sessions::{SessionId, SessionType},
};

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
    pub session_name: String,
    /// The state of a session that is new.
    pub initial_state: Map<String, Value>,
    pub input: String,
    pub metadata: Map<String, Value>,
    pub message_id: Uuid,
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
    pub at: DateTime<Utc>,
}

/// Ends the run. Answers the session's state before; `None`: the run, or its session, is gone.
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
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.session_state.0))
}

/// The state that a run's changes are applied to; the row stays locked until the transaction ends.
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

/// The newest completed runs before the claimed one, at most `runs` of them, oldest first.
pub async fn history(db: &PgPool, claim: &Claim, runs: i64) -> Result<History, sqlx::Error> {
    let rows = sqlx::query_as!(
        MessageRow,
        r#"
        with claimed as (
            select session_id, seq from runs where session_id = $1 and seq = $2 and run_id = $3
        ), past as (
            select runs.session_id, runs.seq
            from runs join claimed using (session_id)
            where runs.session_id = $1 and runs.seq < $2 and runs.status = 'COMPLETED'
            order by runs.seq desc
            limit $4
        )
        select m.seq, m.message_id, m.role as "role: Role", m.content, m.reasoning,
               m.tool_calls as "tool_calls: Json<Vec<ToolCall>>", m.tool_call_id, m.tool_name, m.tool_args,
               m.tool_call_error, m.metrics as "metrics: Json<MessageMetrics>", m.provider_data, m.created_at
        from past join messages m on m.session_id = $1 and m.seq = past.seq
        order by m.seq, m.index
        "#,
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        runs,
    )
    .fetch_all(db)
    .await?;
    Ok(History::new(rows.into_iter().map(MessageRow::into_message).collect()))
}

/// One run by its id, whatever its session.
pub async fn find(db: &PgPool, scope: &Scope, run_id: RunId) -> Result<Option<Run>, sqlx::Error> {
    let row = sqlx::query_as!(
        RunRow,
        r#"
        select r.session_id, r.seq, r.run_id as "run_id: RunId", r.component_id, r.user_id,
               r.status as "status: RunStatus", r.input, r.content, r.error as "error: Json<RunError>", r.model,
               r.model_provider, r.metrics as "metrics: Json<RunMetrics>",
               r.session_state as "session_state: Json<Map<String, Value>>",
               r.metadata as "metadata: Json<Map<String, Value>>", r.context as "context: Json<ContextRecord>",
               r.tools as "tools: Json<Vec<ToolExecution>>", r.created_at
        from runs r join sessions s using (session_id)
        where r.run_id = $1 and ($2::text is null or s.user_id = $2)
        "#,
        run_id as RunId,
        scope.user(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(RunRow::into_run))
}

/// Which runs of a session to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub component_id: Option<String>,
    pub statuses: Option<Vec<RunStatus>>,
    pub created_after: Option<DateTime<Utc>>,
    pub created_before: Option<DateTime<Utc>>,
    pub limit: i64,
}

/// The newest runs of a session that fit the filter, oldest first.
pub async fn list(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    filter: &RunFilter,
) -> Result<Vec<Run>, sqlx::Error> {
    let statuses = filter.statuses.as_deref();
    let rows = sqlx::query_as!(
        RunRow,
        r#"
        select r.session_id, r.seq, r.run_id as "run_id: RunId", r.component_id, r.user_id,
               r.status as "status: RunStatus", r.input, r.content, r.error as "error: Json<RunError>", r.model,
               r.model_provider, r.metrics as "metrics: Json<RunMetrics>",
               r.session_state as "session_state: Json<Map<String, Value>>",
               r.metadata as "metadata: Json<Map<String, Value>>", r.context as "context: Json<ContextRecord>",
               r.tools as "tools: Json<Vec<ToolExecution>>", r.created_at
        from runs r join sessions s using (session_id)
        where r.session_id = $1
          and ($2::text is null or s.user_id = $2)
          and ($3::text is null or r.component_id = $3)
          and ($4::text[] is null or r.status = any($4))
          and ($5::timestamptz is null or r.created_at >= $5)
          and ($6::timestamptz is null or r.created_at <= $6)
        order by r.seq desc
        limit $7
        "#,
        session_id.as_str(),
        scope.user(),
        filter.component_id,
        statuses as Option<&[RunStatus]>,
        filter.created_after,
        filter.created_before,
        filter.limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().rev().map(RunRow::into_run).collect())
}

/// The messages of these runs of a session, by the run's number.
pub async fn messages_of(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<HashMap<i64, Vec<Message>>, sqlx::Error> {
    let rows = sqlx::query_as!(
        MessageRow,
        r#"
        select m.seq, m.message_id, m.role as "role: Role", m.content, m.reasoning,
               m.tool_calls as "tool_calls: Json<Vec<ToolCall>>", m.tool_call_id, m.tool_name, m.tool_args,
               m.tool_call_error, m.metrics as "metrics: Json<MessageMetrics>", m.provider_data, m.created_at
        from messages m join sessions s using (session_id)
        where m.session_id = $1 and m.seq = any($2) and ($3::text is null or s.user_id = $3)
        order by m.seq, m.index
        "#,
        session_id.as_str(),
        seqs,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    let mut by_run: HashMap<i64, Vec<Message>> = HashMap::new();
    for row in rows {
        let (seq, message) = row.into_message();
        by_run.entry(seq).or_default().push(message);
    }
    Ok(by_run)
}

/// The newest `limit` messages of a conversation that a person would read, oldest first, each with its place. Begins
/// before the message at `before`, if given.
pub async fn conversation(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    before: Option<(i64, i32)>,
    limit: i64,
) -> Result<Vec<(i64, i32, Message)>, sqlx::Error> {
    let (before_seq, before_index) = before.unwrap_or((i64::MAX, 0));
    let mut rows = sqlx::query!(
        r#"
        select m.seq, m.index, m.message_id, m.role as "role: Role", m.content, m.reasoning,
               m.tool_calls as "tool_calls: Json<Vec<ToolCall>>", m.metrics as "metrics: Json<MessageMetrics>",
               m.provider_data, m.created_at
        from messages m join sessions s using (session_id)
        where m.session_id = $1
          and ($2::text is null or s.user_id = $2)
          and (m.seq, m.index) < ($3, $4)
          and m.role in ('user', 'assistant')
        order by m.seq desc, m.index desc
        limit $5
        "#,
        session_id.as_str(),
        scope.user(),
        before_seq,
        before_index,
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.reverse();
    let messages = rows.into_iter().map(|row| {
        let message = Message {
            message_id: row.message_id,
            role: row.role,
            content: row.content,
            reasoning: row.reasoning,
            tool_calls: row.tool_calls.map(|calls| calls.0),
            answers: None,
            metrics: row.metrics.map(|metrics| metrics.0),
            provider_data: row.provider_data,
            created_at: row.created_at,
        };
        (row.seq, row.index, message)
    });
    Ok(messages.collect())
}

/// Tokens of a session by purpose and model, as `session_usage` has them.
#[derive(Debug, serde::Deserialize)]
pub struct UsageRow {
    pub purpose: String,
    #[serde(flatten)]
    pub usage: ModelUsage,
}

struct RunRow {
    session_id: String,
    seq: i64,
    run_id: RunId,
    component_id: String,
    user_id: Option<String>,
    status: RunStatus,
    input: String,
    content: Option<String>,
    error: Option<Json<RunError>>,
    model: Option<String>,
    model_provider: Option<String>,
    metrics: Json<RunMetrics>,
    session_state: Option<Json<Map<String, Value>>>,
    metadata: Json<Map<String, Value>>,
    context: Json<ContextRecord>,
    tools: Json<Vec<ToolExecution>>,
    created_at: DateTime<Utc>,
}

impl RunRow {
    fn into_run(self) -> Run {
        Run {
            session_id: SessionId::stored(self.session_id),
            seq: self.seq,
            run_id: self.run_id,
            component_id: self.component_id,
            user_id: self.user_id.map(UserId::stored),
            status: self.status,
            input: self.input,
            content: self.content,
            error: self.error.map(|error| error.0),
            model: self.model.zip(self.model_provider).map(|(id, provider)| ModelInfo { id, provider }),
            metrics: self.metrics.0,
            session_state: self.session_state.map(|state| state.0),
            metadata: self.metadata.0,
            context: self.context.0,
            tools: self.tools.0,
            created_at: self.created_at,
        }
    }
}

struct MessageRow {
    seq: i64,
    message_id: Uuid,
    role: Role,
    content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Json<Vec<ToolCall>>>,
    tool_call_id: Option<String>,
    tool_name: Option<String>,
    tool_args: Option<Value>,
    tool_call_error: Option<bool>,
    metrics: Option<Json<MessageMetrics>>,
    provider_data: Option<Value>,
    created_at: DateTime<Utc>,
}

impl MessageRow {
    fn into_message(self) -> (i64, Message) {
        let answers = self.tool_call_id.map(|tool_call_id| AnsweredCall {
            tool_call_id,
            tool_name: self.tool_name.unwrap_or_default(),
            tool_args: self.tool_args.unwrap_or_default(),
            tool_call_error: self.tool_call_error.unwrap_or_default(),
        });
        let message = Message {
            message_id: self.message_id,
            role: self.role,
            content: self.content,
            reasoning: self.reasoning,
            tool_calls: self.tool_calls.map(|calls| calls.0),
            answers,
            metrics: self.metrics.map(|metrics| metrics.0),
            provider_data: self.provider_data,
            created_at: self.created_at,
        };
        (self.seq, message)
    }
}
