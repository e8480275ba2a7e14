//! What came before a run, for its prompt: summary and messages in one statement.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{ContextOptions, History, Past, PastRun, PastSummary, tokens_of_messages};
use crate::{
    model::{Claim, MessageMetrics, Role, RunId, Scope, SessionId, ToolCall},
    runs::store::rows::{MessageRow, select_messages},
};

/// Reads the past of the session `s`, if the condition allows it. At most `history_runs` runs are looked at, and only
/// the messages of those that fit are read, however long the session is.
macro_rules! select_past {
    ($condition:literal, $session:expr, $options:expr, $before:expr, $without:expr, $allowed:expr) => {
        sqlx::query_as!(
            PastRow,
            r#"
            with session as (
                select s.session_id, s.unfolded_tokens, s.unfolded_runs,
                       -- A run that is about to be replaced is in no part of the prompt.
                       case when $6::uuid is null then s.summary_through else (
                           select coalesce(max(v.through_seq), 0)
                           from runs replaced join summaries v using (session_id)
                           where replaced.session_id = $1 and replaced.run_id = $6 and v.through_seq < replaced.seq
                       ) end as summary_through
                from sessions s
                where s.session_id = $1 and "#
                + $condition
                + r#"
            ), candidate as (
                select newest.seq, newest.tokens,
                       sum(least(coalesce(newest.tokens, 0), $5)) over (order by newest.seq desc) <= $5 as fits
                from (
                    select past.seq, past.tokens
                    from runs past
                    where past.session_id = $1
                      -- As a subquery it bounds the scan of the index.
                      and past.seq > (select case when $2 then session.summary_through else 0 end from session)
                      and past.seq < $3
                      and past.status = 'COMPLETED'
                      and past.run_id is distinct from $6
                    order by past.seq desc
                    limit $4
                ) newest
            )
            select session.unfolded_tokens as "unfolded_tokens!", session.unfolded_runs as "unfolded_runs!",
                   session.summary_through as "summary_through!",
                   -- Once, not with every message.
                   case when row_number() over (order by m.seq, m.index) = 1 then summaries.summary end as summary,
                   case when row_number() over (order by m.seq, m.index) = 1 then summaries.topics end as topics,
                   (select count(*) from candidate where not fits) as "left_out!",
                   candidate.tokens as "tokens?",
                   m.seq as "seq?", m.index as "index?", m.message_id as "message_id?", m.role as "role?: Role", m.content,
                   m.reasoning, m.tool_calls as "tool_calls: Json<Vec<ToolCall>>", m.tool_call_id, m.tool_name,
                   m.tool_args, m.tool_call_error, m.metrics as "metrics: Json<MessageMetrics>", m.provider_data,
                   m.created_at as "created_at?"
            from session
            left join summaries on $2 and summaries.session_id = $1 and summaries.through_seq = session.summary_through
            left join candidate on candidate.fits
            -- One look into the index per run: nobody knows beforehand how few there are, so "offset 0" decides it.
            left join lateral (
                select * from messages where messages.session_id = $1 and messages.seq = candidate.seq offset 0
            ) m on true
            order by m.seq, m.index
            "#,
            $session.as_str(),
            $options.add_summary,
            $before,
            i64::from($options.history_runs),
            i32::try_from($options.limits.max_tokens).unwrap_or(i32::MAX),
            $without as Option<RunId>,
            $allowed,
        )
    };
}

/// The past of a run that is being executed, without the run that it replaces, if any.
pub async fn past(
    db: &mut PgConnection,
    claim: &Claim,
    without: Option<RunId>,
    options: &ContextOptions,
) -> Result<Past, sqlx::Error> {
    let rows = select_past!(
        "exists (select from runs claimed where claimed.session_id = $1 and claimed.seq = $3 and claimed.run_id = $7)",
        claim.session_id,
        options,
        claim.seq,
        without,
        claim.run_id as RunId
    )
    .fetch_all(db)
    .await?;
    Ok(collect(rows))
}

/// The past of a run that would begin now.
pub async fn past_of_next(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    options: &ContextOptions,
) -> Result<Past, sqlx::Error> {
    let rows = select_past!(
        "($7::text is null or s.user_id = $7)",
        session_id,
        options,
        i64::MAX,
        None::<RunId>,
        scope.user()
    )
    .fetch_all(db)
    .await?;
    Ok(collect(rows))
}

struct PastRow {
    unfolded_tokens: i64,
    unfolded_runs: i64,
    summary_through: i64,
    summary: Option<String>,
    topics: Option<Vec<String>>,
    left_out: i64,
    tokens: Option<i32>,
    seq: Option<i64>,
    index: Option<i32>,
    message_id: Option<Uuid>,
    role: Option<Role>,
    content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Json<Vec<ToolCall>>>,
    tool_call_id: Option<String>,
    tool_name: Option<String>,
    tool_args: Option<Value>,
    tool_call_error: Option<bool>,
    metrics: Option<Json<MessageMetrics>>,
    provider_data: Option<Value>,
    created_at: Option<DateTime<Utc>>,
}

impl PastRow {
    /// `None` if the row has no message, because no run fits.
    fn into_message(self) -> Option<MessageRow> {
        Some(MessageRow {
            seq: self.seq?,
            index: self.index?,
            message_id: self.message_id?,
            role: self.role?,
            content: self.content,
            reasoning: self.reasoning,
            tool_calls: self.tool_calls,
            tool_call_id: self.tool_call_id,
            tool_name: self.tool_name,
            tool_args: self.tool_args,
            tool_call_error: self.tool_call_error,
            metrics: self.metrics,
            provider_data: self.provider_data,
            created_at: self.created_at?,
        })
    }
}

/// The rows are in the order of their messages.
fn collect(rows: Vec<PastRow>) -> Past {
    let mut past = Past::default();
    // Runs that were stored without a token count are counted now.
    let mut uncounted = Vec::new();
    for mut row in rows {
        if let Some(text) = row.summary.take() {
            let topics = row.topics.take().unwrap_or_default();
            past.summary = Some(PastSummary { through_seq: row.summary_through, text, topics });
        }
        (past.unfolded_tokens, past.unfolded_runs) = (row.unfolded_tokens, row.unfolded_runs);
        past.runs_left_out = usize::try_from(row.left_out).unwrap_or_default();
        let tokens = row.tokens;
        let Some(message) = row.into_message() else { continue };
        if past.runs.last().is_none_or(|run| run.seq != message.seq) {
            if tokens.is_none() {
                uncounted.push(past.runs.len());
            }
            let tokens = tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or_default();
            past.runs.push(PastRun { seq: message.seq, tokens, messages: Vec::new() });
        }
        if let Some(run) = past.runs.last_mut() {
            run.messages.push(message.into_message());
        }
    }
    for index in uncounted {
        past.runs[index].tokens = tokens_of_messages(&past.runs[index].messages);
    }
    past
}

/// At most `runs` of the newest completed runs before the claimed one, oldest first, without the run `without`.
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
