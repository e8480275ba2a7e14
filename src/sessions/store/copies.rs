//! Whole conversations: copied inside of PostgreSQL, exported and imported.
//!
//! Export lines are built and parsed here, as JSON that mirrors the tables.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use crate::model::{Scope, SessionId};

/// What to copy, and what to call the copy.
#[derive(Debug)]
pub struct CopyOrigin<'a> {
    pub session_id: &'a SessionId,
    /// The last run to copy; `None` for all.
    pub up_to_seq: Option<i64>,
    pub session_name: Option<&'a str>,
    pub at: DateTime<Utc>,
}

/// Copies a session to `copy_id`. `false` if no run to copy has ended. Violates `sessions_pkey` when the id is in use.
pub async fn fork(
    connection: &mut PgConnection,
    scope: &Scope,
    origin: &CopyOrigin<'_>,
    copy_id: &SessionId,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_file!(
        "src/sessions/store/fork.sql",
        origin.session_id.as_str(),
        scope.user(),
        copy_id.as_str(),
        origin.up_to_seq,
        origin.session_name,
        origin.at,
    )
    .fetch_one(connection)
    .await?;
    Ok(row.copied > 0)
}

/// The session and its token usage, as the first lines of an export. Empty if the session does not exist.
pub async fn export_head(db: &PgPool, scope: &Scope, session_id: &SessionId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select line as "line!"
        from sessions s, lateral (
            select 0 as place, json_build_object(
                'kind', 'session', 'format', 1, 'session_id', s.session_id, 'session_type', s.session_type,
                'component_id', s.component_id, 'user_id', s.user_id, 'session_name', s.session_name,
                'named_by', s.named_by, 'session_state', s.session_state, 'metadata', s.metadata,
                'last_seq', s.last_seq, 'archived_at', s.archived_at, 'pinned', s.pinned, 'expires_at', s.expires_at,
                'forked_from', s.forked_from, 'created_at', s.created_at, 'updated_at', s.updated_at
            )::text as line
            union all
            select row_number() over (order by u.purpose, u.model_provider, u.model), json_build_object(
                'kind', 'usage', 'purpose', u.purpose, 'model_provider', u.model_provider, 'model', u.model,
                'input_tokens', u.input_tokens, 'output_tokens', u.output_tokens, 'total_tokens', u.total_tokens,
                'reasoning_tokens', u.reasoning_tokens, 'cache_read_tokens', u.cache_read_tokens,
                'cache_write_tokens', u.cache_write_tokens
            )::text
            from session_usage u
            where u.session_id = s.session_id
        ) lines
        where s.session_id = $1 and ($2::text is null or s.user_id = $2)
        order by place
        "#,
        session_id.as_str(),
        scope.user(),
    )
    .fetch_all(db)
    .await
}

/// A line of an export and its position: the run's number, then the place within the run.
#[derive(Debug)]
pub struct ExportedLine {
    pub seq: i64,
    /// [`ExportedLine::RUN`], which comes before all messages, the index of a message, or [`ExportedLine::SUMMARY`].
    pub place: i32,
    pub line: String,
}

impl ExportedLine {
    pub const RUN: i32 = -1;
    /// The summary version that ends with the run, after all of its messages.
    pub const SUMMARY: i32 = i32::MAX;
}

/// The next lines of the runs that have ended, after a position: about `bytes` of them, and at least one line. Nothing
/// beyond is read or serialized: lengths of texts are known without reading them, and those of JSON are estimated from
/// their size on disk.
pub async fn export_lines(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    (seq, place): (i64, i32),
    bytes: i64,
) -> Result<Vec<ExportedLine>, sqlx::Error> {
    const MOST_LINES: i64 = 200;
    sqlx::query_as!(
        ExportedLine,
        r#"
        with page as materialized (
            select r.seq,
                   octet_length(r.input) + coalesce(octet_length(r.content), 0)
                       + 8 * (pg_column_size(r.tools) + pg_column_size(r.metadata) + pg_column_size(r.context))
                       + 8 * coalesce(pg_column_size(r.session_state), 0) as size
            from runs r
            where r.session_id = $1 and r.seq >= $2 and r.status in ('COMPLETED', 'CANCELLED', 'ERROR', 'REGENERATED')
            order by r.seq
            limit $6
        ), next as (
            select seq, -1 as place, size from page where (seq, -1) > ($2, $3)
            union all
            select m.seq, m.index,
                   coalesce(octet_length(m.content), 0) + coalesce(octet_length(m.reasoning), 0)
                       + 8 * coalesce(pg_column_size(m.tool_calls), 0) + 8 * coalesce(pg_column_size(m.tool_args), 0)
                       + 8 * coalesce(pg_column_size(m.provider_data), 0)
            from page join messages m on m.session_id = $1 and m.seq = page.seq
            where (m.seq, m.index) > ($2, $3)
            union all
            select v.through_seq, 2147483647, octet_length(v.summary)
            from page join summaries v on v.session_id = $1 and v.through_seq = page.seq
            where (v.through_seq, 2147483647) > ($2, $3)
            order by seq, place
            limit $6
        ), fitting as (
            select seq, place, sum(size) over (order by seq, place) - size as size_before from next
        )
        select f.seq as "seq!", f.place as "place!", case f.place
            when -1 then (
                select json_build_object(
                    'kind', 'run', 'seq', r.seq, 'run_id', r.run_id, 'component_id', r.component_id,
                    'user_id', r.user_id, 'status', r.status, 'input', r.input, 'content', r.content, 'error', r.error - 'detail',
                    'model', r.model, 'model_provider', r.model_provider, 'metrics', r.metrics,
                    'session_state', r.session_state, 'metadata', r.metadata, 'context', r.context, 'tools', r.tools,
                    'tokens', r.tokens, 'created_at', r.created_at, 'finished_at', r.finished_at,
                    'forked_from_run_id', r.forked_from_run_id, 'regenerated_from', r.regenerated_from
                )::text
                from runs r
                where r.session_id = s.session_id and r.seq = f.seq
            )
            when 2147483647 then (
                select json_build_object(
                    'kind', 'summary', 'through_seq', v.through_seq, 'summary', v.summary, 'about_user', v.about_user,
                    'topics', v.topics, 'tokens', v.tokens, 'folded_runs', v.folded_runs,
                    'folded_tokens', v.folded_tokens, 'model', v.model, 'model_provider', v.model_provider,
                    'created_at', v.created_at
                )::text
                from summaries v
                where v.session_id = s.session_id and v.through_seq = f.seq
            )
            else (
                select json_build_object(
                    'kind', 'message', 'seq', m.seq, 'index', m.index, 'message_id', m.message_id, 'role', m.role,
                    'content', m.content, 'reasoning', m.reasoning, 'tool_calls', m.tool_calls,
                    'tool_call_id', m.tool_call_id, 'tool_name', m.tool_name, 'tool_args', m.tool_args,
                    'tool_call_error', m.tool_call_error, 'metrics', m.metrics, 'provider_data', m.provider_data,
                    'created_at', m.created_at
                )::text
                from messages m
                where m.session_id = s.session_id and m.seq = f.seq and m.index = f.place
            )
        end as "line!"
        from sessions s, fitting f
        where s.session_id = $1 and ($4::text is null or s.user_id = $4) and f.size_before < $5
        order by f.seq, f.place
        "#,
        session_id.as_str(),
        seq,
        place,
        scope.user(),
        bytes,
        MOST_LINES,
    )
    .fetch_all(db)
    .await
}

/// Whether any of these runs exists already, in any session.
pub async fn runs_elsewhere(connection: &mut PgConnection, run_ids: &[Uuid]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from runs where run_id = any($1)) as "is_there!""#, run_ids)
        .fetch_one(connection)
        .await
}

/// Stores the session of an export. Violates `sessions_pkey` when the id is in use.
pub async fn import_session(connection: &mut PgConnection, session: &Value) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into sessions (
            session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata, last_seq,
            archived_at, pinned, expires_at, forked_from, created_at, updated_at
        )
        select
            session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata, last_seq,
            archived_at, pinned, expires_at, forked_from, created_at, updated_at
        from jsonb_to_record($1) as s (
            session_id text, session_type session_type, component_id text, user_id text, session_name text,
            named_by named_by, session_state jsonb, metadata jsonb, last_seq bigint, archived_at timestamptz,
            pinned boolean, expires_at timestamptz, forked_from text, created_at timestamptz, updated_at timestamptz
        )
        ",
        Json(session) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn import_usage(
    connection: &mut PgConnection,
    session_id: &SessionId,
    usage: &[Value],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into session_usage (
            session_id, purpose, model_provider, model, input_tokens, output_tokens, total_tokens, reasoning_tokens,
            cache_read_tokens, cache_write_tokens
        )
        select
            $1, purpose, model_provider, model, input_tokens, output_tokens, total_tokens, reasoning_tokens,
            cache_read_tokens, cache_write_tokens
        from jsonb_to_recordset($2) as u (
            purpose usage_purpose, model_provider text, model text, input_tokens bigint, output_tokens bigint,
            total_tokens bigint, reasoning_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint
        )
        ",
        session_id.as_str(),
        Json(usage) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn import_runs(
    connection: &mut PgConnection,
    session_id: &SessionId,
    runs: &[Value],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into runs (
            session_id, seq, run_id, component_id, user_id, status, input, content, error, model, model_provider,
            metrics, session_state, metadata, context, tools, tokens, created_at, finished_at, forked_from_run_id,
            regenerated_from
        )
        select
            $1, seq, run_id, component_id, user_id, status, input, content, error, model, model_provider, metrics,
            session_state, metadata, context, tools, tokens, created_at, finished_at, forked_from_run_id, regenerated_from
        from jsonb_to_recordset($2) as r (
            seq bigint, run_id uuid, component_id text, user_id text, status run_status, input text, content text,
            error jsonb, model text, model_provider text, metrics jsonb, session_state jsonb, metadata jsonb,
            context jsonb, tools jsonb, tokens integer, created_at timestamptz, finished_at timestamptz, forked_from_run_id uuid,
            regenerated_from uuid
        )
        ",
        session_id.as_str(),
        Json(runs) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores messages of stored runs, indexed for search with the text search configuration `config`.
pub async fn import_messages(
    connection: &mut PgConnection,
    session_id: &SessionId,
    messages: &[Value],
    config: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into messages (
            session_id, seq, index, message_id, role, content, words, reasoning, tool_calls, tool_call_id, tool_name,
            tool_args, tool_call_error, metrics, provider_data, created_at, session_created_at
        )
        select
            $1, seq, index, message_id, role, content,
            case when role in ('user', 'assistant') then search_words($3::text::regconfig, content) end,
            reasoning, tool_calls, tool_call_id, tool_name, tool_args, tool_call_error, metrics, provider_data,
            m.created_at, s.created_at
        from sessions s, jsonb_to_recordset($2) as m (
            seq bigint, index integer, message_id uuid, role message_role, content text, reasoning text,
            tool_calls jsonb, tool_call_id text, tool_name text, tool_args jsonb, tool_call_error boolean,
            metrics jsonb, provider_data jsonb, created_at timestamptz
        )
        where s.session_id = $1
        ",
        session_id.as_str(),
        Json(messages) as _,
        config,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the counts of runs and messages of an imported session.
pub async fn count_imported(connection: &mut PgConnection, session_id: &SessionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update sessions set
            run_count = (select count(*) from runs where runs.session_id = $1),
            message_count = (select count(*) from messages where messages.session_id = $1)
        where session_id = $1
        ",
        session_id.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores summary versions. The session's row does not refer to them yet.
pub async fn import_summaries(
    connection: &mut PgConnection,
    session_id: &SessionId,
    summaries: &[Value],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into summaries (
            session_id, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens, model,
            model_provider, created_at
        )
        select
            $1, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens, model,
            model_provider, created_at
        from jsonb_to_recordset($2) as v (
            through_seq bigint, summary text, about_user text, topics text[], tokens integer, folded_runs integer,
            folded_tokens bigint, model text, model_provider text, created_at timestamptz
        )
        ",
        session_id.as_str(),
        Json(summaries) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}
