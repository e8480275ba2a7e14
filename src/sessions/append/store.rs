//! The statement that stores appended runs.

use sqlx::{PgConnection, types::Json as Jsonb};

use super::SaidRun;
use crate::model::{Caller, SessionId, UserId, session::title};

/// The session after the append.
#[derive(Debug)]
pub(super) struct Appended {
    /// Number of the last run before the appended ones.
    pub(super) before: i64,
    pub(super) component_id: Option<String>,
    /// Whether the session belongs to the caller. A session without a user stays without one.
    pub(super) is_callers: bool,
    /// Tokens of the completed runs that the summary does not cover.
    pub(super) unfolded_tokens: i64,
    /// Number of completed runs that the summary does not cover.
    pub(super) unfolded_runs: i64,
}

/// Stores the runs, in one statement. `None` if it is no agent session, or the caller may not write to it.
pub(super) async fn append(
    connection: &mut PgConnection,
    caller: &Caller,
    session_id: &SessionId,
    component_id: Option<&str>,
    runs: &[SaidRun],
    text_config: &str,
) -> Result<Option<Appended>, sqlx::Error> {
    let times = || runs.iter().map(|run| run.created_at);
    let name = runs.iter().find_map(|run| title(&run.input));
    let tokens = runs.iter().map(|run| i64::from(run.tokens)).sum::<i64>();
    let messages = runs.iter().map(SaidRun::message_count).sum::<usize>();
    sqlx::query_as!(
        Appended,
        r#"
        with session as (
            insert into sessions as s (
                tenant_id, session_id, session_type, component_id, user_id, session_name, named_by, last_seq, created_at,
                updated_at, unfolded_tokens, unfolded_runs, run_count, message_count
            )
            values (
                $1, $2, 'agent', $3, $4, $5, case when $5::text is null then null else 'message'::named_by end, $6, $7,
                $8, $11, $6, $6, $12
            )
            on conflict (tenant_id, session_id) do update set
                last_seq = s.last_seq + excluded.last_seq,
                component_id = coalesce(s.component_id, excluded.component_id),
                session_name = coalesce(s.session_name, excluded.session_name),
                named_by = coalesce(s.named_by, excluded.named_by),
                updated_at = greatest(s.updated_at, excluded.updated_at),
                unfolded_tokens = s.unfolded_tokens + excluded.unfolded_tokens,
                unfolded_runs = s.unfolded_runs + excluded.unfolded_runs,
                run_count = s.run_count + excluded.run_count,
                message_count = s.message_count + excluded.message_count,
                version = s.version + 1
            where s.session_type = excluded.session_type
              and (s.user_id is null or s.user_id = excluded.user_id)
            returning s.last_seq - $6 as before, s.component_id, s.user_id, s.unfolded_tokens, s.unfolded_runs,
                s.created_at as session_created_at
        ), said as (
            select before + n as seq, component_id, user_id, session_created_at, r.*
            from session, rows from (jsonb_to_recordset($9) as (
                run_id uuid, input text, message_id uuid, created_at timestamptz, tokens integer, steps jsonb,
                answer jsonb
            )) with ordinality as r (run_id, input, message_id, created_at, tokens, steps, answer, n)
        ), run as (
            insert into runs (
                tenant_id, session_id, seq, run_id, component_id, user_id, is_shared, input, message_id, words,
                created_at, session_created_at
            )
            select $1, $2, seq, run_id, coalesce(component_id, ''), user_id, user_id is null, input, message_id,
                   case when message_id is not null then search_words($10::text::regconfig, input) end, created_at,
                   session_created_at
            from said
        ), step as (
            insert into run_steps (
                tenant_id, session_id, seq, index, message_id, role, content, created_at, words, session_created_at
            )
            select $1, $2, said.seq, m.index, m.message_id, 'assistant', m.content, m.created_at,
                   search_words($10::text::regconfig, m.content), said.session_created_at
            from said, jsonb_to_recordset(said.steps) as m (
                message_id uuid, index integer, content text, created_at timestamptz
            )
        ), outcome as (
            insert into outcomes (
                tenant_id, session_id, seq, status, content, tokens, finished_at, answer_index, answer_id, answered_at,
                words, session_created_at
            )
            select $1, $2, said.seq, 'COMPLETED', m.content, said.tokens, said.created_at, m.index, m.message_id,
                   m.created_at, search_words($10::text::regconfig, m.content), said.session_created_at
            from said
            -- All null where there is no answer.
            cross join jsonb_to_record(coalesce(nullif(said.answer, 'null'), '{}')) as m (
                message_id uuid, index integer, content text, created_at timestamptz
            )
        )
        select before as "before!", component_id, user_id is not null as "is_callers!",
               unfolded_tokens as "unfolded_tokens!", unfolded_runs as "unfolded_runs!"
        from session
        "#,
        caller.tenant().as_str(),
        session_id.as_str(),
        component_id,
        caller.user().map(UserId::as_str),
        name,
        i64::try_from(runs.len()).unwrap_or(i64::MAX),
        times().min(),
        times().max(),
        Jsonb(runs) as _,
        text_config,
        tokens,
        i64::try_from(messages).unwrap_or(i64::MAX),
    )
    .fetch_optional(connection)
    .await
}
