//! Deletes single runs and messages of a session. The others keep their numbers.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::{Role, RunId, RunStatus, Scope, SessionId};

/// What to check of a run before it is deleted or forked.
#[derive(Debug)]
pub struct RunPart {
    pub seq: i64,
    pub status: RunStatus,
}

pub async fn find_run(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    run_id: RunId,
) -> Result<Option<RunPart>, sqlx::Error> {
    sqlx::query_as!(
        RunPart,
        r#"
        select r.seq as "seq!", r.status as "status!: RunStatus"
        from run_records r join sessions s using (tenant_id, session_id)
        where r.tenant_id = $1 and r.session_id = $2 and r.run_id = $3 and ($4::text is null or s.user_id = $4)
        "#,
        scope.tenant(),
        session_id.as_str(),
        run_id as RunId,
        scope.user(),
    )
    .fetch_optional(connection)
    .await
}

/// Removes a run with its messages and events.
pub async fn delete_run(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    seq: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with gone as (
            delete from runs r using sessions s
            where r.tenant_id = $1 and r.session_id = $2 and r.seq = $3
              and s.tenant_id = $1 and s.session_id = $2 and ($4::text is null or s.user_id = $4)
            returning r.session_id
        )
        update sessions s set
            run_count = s.run_count - 1,
            message_count = s.message_count - (
                select count(*) from messages m where m.tenant_id = $1 and m.session_id = $2 and m.seq = $3
            )
        from gone
        where s.tenant_id = $1 and s.session_id = gone.session_id
        ",
        scope.tenant(),
        session_id.as_str(),
        seq,
        scope.user(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What to check of a message before it is deleted.
#[derive(Debug)]
pub struct MessagePart {
    pub seq: i64,
    pub index: i32,
    pub role: Role,
    pub status: RunStatus,
}

pub async fn find_message(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    message_id: Uuid,
) -> Result<Option<MessagePart>, sqlx::Error> {
    sqlx::query_as!(
        MessagePart,
        r#"
        select m.seq as "seq!", m.index as "index!", m.role as "role!: Role", r.status as "status!: RunStatus"
        from messages m
        join run_records r on r.tenant_id = $1 and r.session_id = $2 and r.seq = m.seq
        join sessions s on s.tenant_id = $1 and s.session_id = $2
        where m.tenant_id = $1 and m.session_id = $2 and m.message_id = $3 and ($4::text is null or s.user_id = $4)
        "#,
        scope.tenant(),
        session_id.as_str(),
        message_id,
        scope.user(),
    )
    .fetch_optional(connection)
    .await
}

/// Deletes a message, the results of its tool calls, and their copies in the run: its input, answer, tool executions,
/// vectors and events. For a user message, the run also loses its links to memories.
pub async fn delete_message(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    message: &MessagePart,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with message as (
            select m.index, m.content, m.role,
                   coalesce(array(select call ->> 'id' from jsonb_array_elements(m.tool_calls) call), '{}') as calls
            from messages m join sessions s using (tenant_id, session_id)
            where m.tenant_id = $1 and m.session_id = $2 and m.seq = $3 and m.index = $4
              and ($5::text is null or s.user_id = $5)
        ), gone as (
            select m.index
            from messages m, message
            where m.tenant_id = $1 and m.session_id = $2 and m.seq = $3
              and (m.index = message.index or m.tool_call_id = any(message.calls))
        ), counted as (
            update sessions set message_count = message_count - (select count(*) from gone)
            where tenant_id = $1 and session_id = $2 and exists (select from message)
        ), unsaid as (
            update runs r set input = '', message_id = null, words = null
            from message
            where r.tenant_id = $1 and r.session_id = $2 and r.seq = $3 and message.role = 'user'
              and (r.message_id is null or message.index = 0)
        ), undone as (
            delete from run_steps s using gone
            where s.tenant_id = $1 and s.session_id = $2 and s.seq = $3 and s.index = gone.index
        ), unseen as (
            delete from message_vectors v using gone
            where v.tenant_id = $1 and v.session_id = $2 and v.seq = $3 and v.index = gone.index
        ), unheard as (
            delete from run_events e using message
            where e.tenant_id = $1 and e.session_id = $2 and e.seq = $3
        ), unlearned as (
            delete from memory_sources s using message
            where s.tenant_id = $1 and s.session_id = $2 and s.seq = $3
              and (message.role = 'user' or s.index in (select index from gone))
        ), unrecorded as (
            delete from memory_events e using message
            where message.role = 'user' and e.tenant_id = $1 and e.session_id = $2 and e.seq = $3
        )
        update outcomes o set
            content = case
                when o.answer_index = message.index then null
                -- The answer of a run that has no message of its own for it.
                when o.answer_index is null and message.role = 'assistant' and o.content = message.content then null
                else o.content
            end,
            answer_index = nullif(o.answer_index, message.index),
            answer_id = case when o.answer_index is distinct from message.index then o.answer_id end,
            reasoning = case when o.answer_index is distinct from message.index then o.reasoning end,
            answer_metrics = case when o.answer_index is distinct from message.index then o.answer_metrics end,
            provider_data = case when o.answer_index is distinct from message.index then o.provider_data end,
            answered_at = case when o.answer_index is distinct from message.index then o.answered_at end,
            words = case when o.answer_index is distinct from message.index then o.words end,
            tools = (
                select coalesce(jsonb_agg(tool order by place), '[]')
                from jsonb_array_elements(o.tools) with ordinality as t (tool, place)
                where not tool ->> 'tool_call_id' = any(message.calls)
            )
        from message
        where o.tenant_id = $1 and o.session_id = $2 and o.seq = $3
        "#,
        scope.tenant(),
        session_id.as_str(),
        message.seq,
        message.index,
        scope.user(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Increments the session's version. A name that was made from the first message becomes `title`; so does one from a
/// model, if `first_has_changed`.
pub async fn touch(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    title: Option<&str>,
    first_has_changed: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update sessions set
            session_name = case when named_by = 'message' or named_by = 'model' and $5 then $4 else session_name end,
            named_by = case
                when named_by = 'message' or named_by = 'model' and $5
                then case when $4::text is not null then 'message'::named_by end
                else named_by
            end,
            version = version + 1
        where tenant_id = $1 and session_id = $2 and ($3::text is null or user_id = $3)
        ",
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        title,
        first_has_changed,
    )
    .execute(connection)
    .await?;
    Ok(())
}
