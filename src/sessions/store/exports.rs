//! Whole conversations as lines of JSON, in format 1. What the tables have in another form is written as it was in the
//! tables of that format: runs with their outcome, and messages.

use sqlx::PgPool;

use crate::model::{Scope, SessionId};

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
            select row_number() over (order by
                    array_position('{run,summary,memory,title}', u.purpose), u.provider collate "C", u.model collate "C"
                ), json_build_object(
                'kind', 'usage', 'purpose', u.purpose, 'model_provider', u.provider, 'model', u.model,
                'input_tokens', numbers -> 0, 'output_tokens', numbers -> 1, 'total_tokens', numbers -> 2,
                'reasoning_tokens', numbers -> 3, 'cache_read_tokens', numbers -> 4, 'cache_write_tokens', numbers -> 5
            )::text
            from (
                select numbers, split_part(name, E'\n', 1) as purpose, split_part(name, E'\n', 2) as provider,
                       -- All that is left: a model's name may have line breaks of its own.
                       regexp_replace(name, '^[^\n]*\n[^\n]*\n', '') as model
                from jsonb_each(s.usage) as entries (name, numbers)
            ) u
        ) lines
        where s.tenant_id = $1 and s.session_id = $2 and ($3::text is null or s.user_id = $3)
        order by place
        "#,
        scope.tenant(),
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
            select r.seq, case when r.message_id is not null then octet_length(r.input) end as input_size, o.answer_index,
                   coalesce(octet_length(o.content), 0) + coalesce(octet_length(o.reasoning), 0)
                       + 8 * coalesce(pg_column_size(o.provider_data), 0) as answer_size,
                   octet_length(r.input) + coalesce(octet_length(o.content), 0)
                       + 8 * (pg_column_size(o.tools) + pg_column_size(r.metadata) + pg_column_size(o.context))
                       + 8 * coalesce(pg_column_size(o.session_state), 0) as size
            from runs r
            join outcomes o on o.tenant_id = $1 and o.session_id = $2 and o.seq = r.seq
            where r.tenant_id = $1 and r.session_id = $2 and r.seq >= $3
            order by r.seq
            limit $7
        ), next as (
            select seq, -1 as place, size from page where (seq, -1) > ($3, $4)
            union all
            select seq, 0, input_size from page where input_size is not null and (seq, 0) > ($3, $4)
            union all
            select m.seq, m.index,
                   coalesce(octet_length(m.content), 0) + coalesce(octet_length(m.reasoning), 0)
                       + 8 * coalesce(pg_column_size(m.tool_calls), 0) + 8 * coalesce(pg_column_size(m.tool_args), 0)
                       + 8 * coalesce(pg_column_size(m.provider_data), 0)
            from page join run_steps m on m.tenant_id = $1 and m.session_id = $2 and m.seq = page.seq
            where (m.seq, m.index) > ($3, $4)
            union all
            select seq, answer_index, answer_size from page
            where answer_index is not null and (seq, answer_index) > ($3, $4)
            union all
            select v.through_seq, 2147483647, octet_length(v.summary)
            from page join summaries v on v.tenant_id = $1 and v.session_id = $2 and v.through_seq = page.seq
            where (v.through_seq, 2147483647) > ($3, $4)
            order by seq, place
            limit $7
        ), fitting as (
            select seq, place, sum(size) over (order by seq, place) - size as size_before from next
        )
        select f.seq as "seq!", f.place as "place!", case f.place
            when -1 then (
                select json_build_object(
                    'kind', 'run', 'seq', r.seq, 'run_id', r.run_id, 'component_id', r.component_id,
                    'user_id', r.user_id, 'status', o.status, 'input', r.input, 'content', o.content,
                    'error', o.error - 'detail', 'model', o.model, 'model_provider', o.model_provider,
                    'metrics', o.metrics, 'session_state', o.session_state, 'metadata', r.metadata,
                    'context', o.context, 'tools', o.tools, 'tokens', o.tokens, 'created_at', r.created_at,
                    'finished_at', o.finished_at, 'forked_from_run_id', r.forked_from_run_id,
                    'regenerated_from', r.regenerated_from
                )::text
                from runs r join outcomes o using (tenant_id, session_id, seq)
                where r.tenant_id = $1 and r.session_id = $2 and r.seq = f.seq
            )
            when 2147483647 then (
                select json_build_object(
                    'kind', 'summary', 'through_seq', v.through_seq, 'summary', v.summary, 'about_user', v.about_user,
                    'topics', v.topics, 'tokens', v.tokens, 'folded_runs', v.folded_runs,
                    'folded_tokens', v.folded_tokens, 'model', v.model, 'model_provider', v.model_provider,
                    'created_at', v.created_at
                )::text
                from summaries v
                where v.tenant_id = $1 and v.session_id = $2 and v.through_seq = f.seq
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
                where m.tenant_id = $1 and m.session_id = $2 and m.seq = f.seq and m.index = f.place
            )
        end as "line!"
        from sessions s, fitting f
        where s.tenant_id = $1 and s.session_id = $2 and ($5::text is null or s.user_id = $5) and f.size_before < $6
        order by f.seq, f.place
        "#,
        scope.tenant(),
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
