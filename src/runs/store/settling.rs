//! The statement that settles a run.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use crate::{
    config::HistorySettings,
    events::EventBatch,
    model::{
        Claim, ContextRecord, Message, ModelInfo, ProcessId, Role, RunError, RunId, RunMetrics, RunStatus,
        ToolExecution, WebhookUrl,
    },
    usage::{self, Purpose},
};

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
    /// Where the end of the run is to be told.
    pub webhook_url: Option<&'a WebhookUrl>,
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

struct Row {
    session_state: Json<Map<String, Value>>,
    active_seq: Option<i64>,
    folds: bool,
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

/// Ends the run, in one statement: its outcome with the answer, its steps, the last of its events, the session's state
/// and what it cost, and whether memories are to be learned from it; and gives the session to the run whose turn it is
/// next. `None` if the run has already ended, is gone, or no longer belongs to the claim.
///
/// The session's row comes first, as in every other change of a session: a delete that came before wins, and one that
/// comes later waits.
#[expect(clippy::too_many_lines, reason = "one statement in two forms, and its parameters")]
pub async fn settle(
    connection: &mut PgConnection,
    claim: &Claim,
    end: &Settlement<'_>,
) -> Result<Option<Settled>, sqlx::Error> {
    let error = end.error.map(|error| StoredError { error, detail: end.error_detail });
    let (steps, answer) = split_answer(end);
    let (usage_names, usage_numbers) = usage::entries(Purpose::Run, &end.metrics.details.model);
    /// The statement with further CTEs, which have the parameters from $31 on.
    macro_rules! settle {
        ($more:literal, $($parameter:expr),* $(,)?) => {
            sqlx::query_as!(
                Row,
                r#"
            with session as (
                update sessions set
                    session_state = coalesce($6, session_state),
                    message_count = message_count + $7,
                    usage = case when cardinality($8::text[]) = 0 then usage else add_usage(usage, $8, $9) end,
                    unfolded_tokens = unfolded_tokens + coalesce($10, 0),
                    unfolded_runs = unfolded_runs + ($10 is not null)::integer,
                    -- One fold at a time is queued; one that was queued long ago and is not done is queued again.
                    fold_queued_by = case
                        when (
                            unfolded_tokens + coalesce($10, 0) > $11 or unfolded_runs + ($10 is not null)::integer > $12
                        )
                            and (fold_queued_by is null or fold_queued_by <= $3 - 10) then $3
                        else fold_queued_by
                    end,
                    active_seq = case when active_seq = $3 then waiting[1] else active_seq end,
                    waiting = case when active_seq = $3 then waiting[2:] else array_remove(waiting, $3) end,
                    updated_at = greatest(updated_at, $13),
                    version = version + 1
                where tenant_id = $1 and session_id = $2
                  and exists (
                      select from open_runs
                      where tenant_id = $1 and session_id = $2 and seq = $3 and run_id = $4
                        and process_id is not distinct from $5
                  )
                returning session_state, active_seq, fold_queued_by, created_at
            ), closed as (
                delete from open_runs using session
                where open_runs.tenant_id = $1 and open_runs.session_id = $2 and open_runs.seq = $3
                  -- Once more: whoever held the session while this statement waited may have ended the run, and
                  -- only the row itself knows.
                  and open_runs.process_id is not distinct from $5
                returning session.session_state, session.created_at as session_created_at
            ), outcome as (
                insert into outcomes (
                    tenant_id, session_id, seq, status, content, error, model, model_provider, finish_reason, metrics,
                    session_state, context, tools, tokens, finished_at, webhook_url, answer_index, answer_id, reasoning,
                    answer_metrics, provider_data, answered_at, words, session_created_at
                )
                select $1, $2, $3, $14, $15, $16, $17, $18, $19, $20, nullif(session_state, '{}'), $21, $22, $10, $13, $23,
                       $24, $25, $26, $27, $28, $29,
                       case when $24::integer is not null then search_words($30::text::regconfig, $15) end,
                       session_created_at
                from closed
            "#
                + $more
                + r#"
            )
            select session.session_state as "session_state!: Json<Map<String, Value>>", active_seq,
                   coalesce(fold_queued_by = $3, false) as "folds!"
            from session left join closed on true
            -- A session must not be changed by a run that is not settled.
            where case when closed.session_created_at is null then overtaken() else true end
            "#,
                claim.tenant_id.as_str(),
                claim.session_id.as_str(),
                claim.seq,
                claim.run_id as RunId,
                claim.process as Option<ProcessId>,
                end.session_state.map(Json) as _,
                i64::try_from(end.messages.len()).unwrap_or(i64::MAX),
                &usage_names,
                &usage_numbers,
                end.tokens,
                end.fold_above.map(|limits| i64::from(limits.high_tokens)),
                end.fold_above.map(|limits| i64::from(limits.max_runs)),
                end.at,
                end.status as RunStatus,
                end.content,
                error.map(Json) as _,
                end.model.id,
                end.model.provider,
                None::<&str>,
                Json(end.metrics) as _,
                Json(end.context) as _,
                Json(end.tools) as _,
                end.webhook_url.map(WebhookUrl::expose),
                answer.map(|_| i32::try_from(end.messages.len()).unwrap_or(i32::MAX)),
                answer.map(|answer| answer.message_id),
                answer.and_then(|answer| answer.reasoning.as_deref()),
                answer.and_then(|answer| answer.metrics.as_ref()).map(Json) as _,
                answer.and_then(|answer| answer.provider_data.as_ref()),
                answer.map(|answer| answer.created_at),
                end.text_config,
                $($parameter),*
            )
            .fetch_optional(connection)
            .await?
        };
    }
    // PostgreSQL sets up the whole plan for each execution, so most runs go without what few runs need.
    let row = if steps.is_empty() && end.events.names.is_empty() && !end.is_learned_from {
        settle!("",)
    } else {
        settle!(
            r"
            ), step as (
                insert into run_steps (
                    tenant_id, session_id, seq, index, message_id, role, content, reasoning, tool_calls, tool_call_id,
                    tool_name, tool_args, tool_call_error, metrics, provider_data, created_at, words, session_created_at
                )
                select $1, $2, $3, m.index::integer, m.message_id, m.role::message_role, m.content, m.reasoning,
                       m.tool_calls, m.tool_call_id, m.tool_name, m.tool_args, m.tool_call_error, m.metrics,
                       m.provider_data, m.created_at,
                       case m.role when 'assistant' then search_words($30::text::regconfig, m.content) end,
                       closed.session_created_at
                from closed, rows from (
                    jsonb_to_recordset($31) as (
                        message_id uuid, role text, content text, reasoning text, tool_calls jsonb, tool_call_id text,
                        tool_name text, tool_args jsonb, tool_call_error boolean, metrics jsonb, provider_data jsonb,
                        created_at timestamptz
                    )
                ) with ordinality as m (
                    message_id, role, content, reasoning, tool_calls, tool_call_id,
                    tool_name, tool_args, tool_call_error, metrics, provider_data, created_at, index
                )
            ), heard as (
                insert into run_events (tenant_id, session_id, seq, first_index, names, data, created_at)
                select $1, $2, $3, $32, $33, $34, $13
                from closed
                where cardinality($33::text[]) > 0
            ), unread as (
                insert into memory_turns (tenant_id, user_id, session_id, seq, agent_id)
                select $1, runs.user_id, $2, $3, runs.component_id
                from closed, runs
                where $35 and runs.tenant_id = $1 and runs.session_id = $2 and runs.seq = $3
                  and runs.user_id is not null
            ",
            Json(steps) as _,
            end.events.first_index,
            &end.events.names,
            &end.events.data,
            end.is_learned_from,
        )
    };
    Ok(row.map(|row| Settled { session_state: row.session_state.0, next_seq: row.active_seq, folds: row.folds }))
}

/// The steps, and the answer if the last message is it: then it is stored with the outcome, whose text it has.
fn split_answer<'a>(end: &Settlement<'a>) -> (&'a [Message], Option<&'a Message>) {
    match end.messages.split_last() {
        Some((last, steps))
            if last.role == Role::Assistant
                && last.tool_calls.is_none()
                && last.answers.is_none()
                && last.content.as_deref() == end.content
                && end.content.is_some() =>
        {
            (steps, Some(last))
        }
        _ => (end.messages, None),
    }
}
