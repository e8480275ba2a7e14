//! Stores the lines of an export.

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::model::{SessionId, TenantId};

/// Whether any of these runs exists already, in any session of the tenant.
pub async fn runs_elsewhere(
    connection: &mut PgConnection,
    tenant: &TenantId,
    run_ids: &[Uuid],
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from runs where tenant_id = $1 and run_id = any($2)) as "is_there!""#,
        tenant.as_str(),
        run_ids
    )
    .fetch_one(connection)
    .await
}

/// Stores the session of an export. Violates `sessions_pkey` when the id is in use.
pub async fn import_session(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into sessions (
            tenant_id, session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata,
            last_seq, archived_at, pinned, expires_at, forked_from, created_at, updated_at
        )
        select
            $1, session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata,
            last_seq, archived_at, pinned, expires_at, forked_from, created_at, updated_at
        from jsonb_to_record($2) as s (
            session_id text, session_type session_type, component_id text, user_id text, session_name text,
            named_by named_by, session_state jsonb, metadata jsonb, last_seq bigint, archived_at timestamptz,
            pinned boolean, expires_at timestamptz, forked_from text, created_at timestamptz, updated_at timestamptz
        )
        ",
        tenant.as_str(),
        Json(session) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds token usage, in the form of `usage::entries`.
pub async fn add_usage(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    (names, numbers): (&[String], &[i64]),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sessions set usage = add_usage(usage, $3, $4) where tenant_id = $1 and session_id = $2",
        tenant.as_str(),
        session_id.as_str(),
        names,
        numbers,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores runs, each with its user's message if it has a `message_id`. They are indexed for search, as all messages are,
/// with the text search configuration `config`.
pub async fn import_runs(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    runs: &[Value],
    config: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into runs (
            tenant_id, session_id, seq, run_id, forked_from_run_id, regenerated_from, component_kind, component_id,
            user_id, is_shared, input, message_id, words, metadata, created_at, session_created_at
        )
        select
            $1, $2, r.seq, r.run_id, r.forked_from_run_id, r.regenerated_from, s.session_type, r.component_id, r.user_id,
            s.user_id is null, r.input, r.message_id,
            case when r.message_id is not null then search_words($4::text::regconfig, r.input) end,
            r.metadata, r.created_at, s.created_at
        from sessions s, jsonb_to_recordset($3) as r (
            seq bigint, run_id uuid, forked_from_run_id uuid, regenerated_from uuid, component_id text, user_id text,
            input text, message_id uuid, metadata jsonb, created_at timestamptz
        )
        where s.tenant_id = $1 and s.session_id = $2
        ",
        tenant.as_str(),
        session_id.as_str(),
        Json(runs) as _,
        config,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the outcomes of stored runs, each with its answer as a message if it has an `answer_index`.
pub async fn import_outcomes(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    outcomes: &[Value],
    config: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into outcomes (
            tenant_id, session_id, seq, status, content, error, model, model_provider, metrics, session_state, context,
            tools, tokens, finished_at, answer_index, answer_id, reasoning, answer_metrics, provider_data, answered_at,
            words, session_created_at
        )
        select
            $1, $2, o.seq, o.status, o.content, o.error, o.model, o.model_provider, o.metrics, o.session_state, o.context,
            o.tools, o.tokens, coalesce(o.finished_at, o.created_at), o.answer_index, o.answer_id, o.reasoning,
            o.answer_metrics, o.provider_data, o.answered_at,
            case when o.answer_index is not null then search_words($4::text::regconfig, o.content) end, s.created_at
        from sessions s, jsonb_to_recordset($3) as o (
            seq bigint, status run_status, content text, error jsonb, model text, model_provider text, metrics jsonb,
            session_state jsonb, context jsonb, tools jsonb, tokens integer, created_at timestamptz,
            finished_at timestamptz, answer_index integer, answer_id uuid, reasoning text, answer_metrics jsonb,
            provider_data jsonb, answered_at timestamptz
        )
        where s.tenant_id = $1 and s.session_id = $2
        ",
        tenant.as_str(),
        session_id.as_str(),
        Json(outcomes) as _,
        config,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the messages of stored runs that are neither the user's nor the answer.
pub async fn import_steps(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    messages: &[Value],
    config: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into run_steps (
            tenant_id, session_id, seq, index, message_id, role, content, reasoning, tool_calls, tool_call_id, tool_name,
            tool_args, tool_call_error, metrics, provider_data, created_at, words, session_created_at
        )
        select
            $1, $2, m.seq, m.index, m.message_id, m.role, m.content, m.reasoning, m.tool_calls, m.tool_call_id,
            m.tool_name, m.tool_args, m.tool_call_error, m.metrics, m.provider_data, m.created_at,
            case when m.role in ('user', 'assistant') then search_words($4::text::regconfig, m.content) end, s.created_at
        from sessions s, jsonb_to_recordset($3) as m (
            seq bigint, index integer, message_id uuid, role message_role, content text, reasoning text,
            tool_calls jsonb, tool_call_id text, tool_name text, tool_args jsonb, tool_call_error boolean,
            metrics jsonb, provider_data jsonb, created_at timestamptz
        )
        where s.tenant_id = $1 and s.session_id = $2
        ",
        tenant.as_str(),
        session_id.as_str(),
        Json(messages) as _,
        config,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the counts of runs and messages of an imported session.
pub async fn count_imported(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update sessions set
            run_count = (select count(*) from runs where tenant_id = $1 and session_id = $2),
            message_count = (select count(*) from messages where tenant_id = $1 and session_id = $2)
        where tenant_id = $1 and session_id = $2
        ",
        tenant.as_str(),
        session_id.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores summary versions. The session's row does not refer to them yet.
pub async fn import_summaries(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    summaries: &[Value],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into summaries (
            tenant_id, session_id, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens, model,
            model_provider, created_at
        )
        select
            $1, $2, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens, model,
            model_provider, created_at
        from jsonb_to_recordset($3) as v (
            through_seq bigint, summary text, about_user text, topics text[], tokens integer, folded_runs integer,
            folded_tokens bigint, model text, model_provider text, created_at timestamptz
        )
        ",
        tenant.as_str(),
        session_id.as_str(),
        Json(summaries) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}
