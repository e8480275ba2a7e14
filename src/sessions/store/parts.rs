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
        select r.seq, r.status as "status: RunStatus"
        from runs r join sessions s using (session_id)
        where r.session_id = $1 and r.run_id = $2 and ($3::text is null or s.user_id = $3)
        "#,
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
            where r.session_id = $1 and r.seq = $2 and s.session_id = r.session_id and ($3::text is null or s.user_id = $3)
            returning r.session_id
        )
        update sessions s set
            run_count = s.run_count - 1,
            message_count = s.message_count - (select count(*) from messages m where m.session_id = $1 and m.seq = $2)
        from gone
        where s.session_id = gone.session_id
        ",
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
        select m.seq, m.index, m.role as "role: Role", r.status as "status: RunStatus"
        from messages m join runs r using (session_id, seq) join sessions s using (session_id)
        where m.session_id = $1 and m.message_id = $2 and ($3::text is null or s.user_id = $3)
        "#,
        session_id.as_str(),
        message_id,
        scope.user(),
    )
    .fetch_optional(connection)
    .await
}

/// Deletes a message, the results of its tool calls, and their copies in the run: its input, answer, tool executions
/// and events. For a user message, the run also loses its links to memories.
pub async fn delete_message(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    message: &MessagePart,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with message as (
            select m.session_id, m.seq, m.index, m.content, m.role,
                   coalesce(array(select call ->> 'id' from jsonb_array_elements(m.tool_calls) call), '{}') as calls
            from messages m join sessions s using (session_id)
            where m.session_id = $1 and m.seq = $2 and m.index = $3 and ($4::text is null or s.user_id = $4)
        ), gone as (
            delete from messages m using message
            where m.session_id = message.session_id and m.seq = message.seq
              and (m.index = message.index or m.tool_call_id = any(message.calls))
            returning m.session_id
        ), counted as (
            update sessions s set message_count = s.message_count - gone.messages
            from (select session_id, count(*) as messages from gone group by session_id) gone
            where s.session_id = gone.session_id
        ), heard as (
            delete from run_events e using message
            where e.session_id = message.session_id and e.seq = message.seq
        ), unlearned as (
            delete from memory_sources s using message
            where message.role = 'user' and s.session_id = message.session_id and s.seq = message.seq
        ), unrecorded as (
            delete from memory_events e using message
            where message.role = 'user' and e.session_id = message.session_id and e.seq = message.seq
        )
        update runs r set
            input = case when message.role = 'user' then '' else r.input end,
            content = case when message.role = 'assistant' and r.content = message.content then null else r.content end,
            tools = (
                select coalesce(jsonb_agg(tool order by place), '[]')
                from jsonb_array_elements(r.tools) with ordinality as t (tool, place)
                where not tool ->> 'tool_call_id' = any(message.calls)
            )
        from message
        where r.session_id = message.session_id and r.seq = message.seq
        "#,
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
            session_name = case when named_by = 'message' or named_by = 'model' and $4 then $3 else session_name end,
            named_by = case
                when named_by = 'message' or named_by = 'model' and $4
                then case when $3::text is not null then 'message'::named_by end
                else named_by
            end,
            version = version + 1
        where session_id = $1 and ($2::text is null or user_id = $2)
        ",
        session_id.as_str(),
        scope.user(),
        title,
        first_has_changed,
    )
    .execute(connection)
    .await?;
    Ok(())
}
