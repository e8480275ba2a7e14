//! All data of one user, in PostgreSQL.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::{
    memories,
    model::{SessionId, TenantId, UserId},
};

/// How much data of a user there is. Runs and messages include the user's in sessions that belong to no user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    pub sessions: i64,
    pub runs: i64,
    pub messages: i64,
    pub memories: i64,
}

/// Locks the user's sessions and those with runs of the user, then the user's memories, and deletes the unread turns:
/// from now on no job is enqueued for these. Waits for transactions that are about to enqueue one, or learn from them.
pub(super) async fn hold(connection: &mut PgConnection, tenant: &TenantId, user: &UserId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        select from sessions
        where tenant_id = $1 and session_id in (
            select session_id from sessions where tenant_id = $1 and user_id = $2
            union
            select session_id from runs where tenant_id = $1 and user_id = $2 and is_shared
        )
        order by session_id
        for update
        ",
        tenant.as_str(),
        user.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    memories::store::lock_user(connection, tenant, user).await?;
    sqlx::query!("delete from memory_turns where tenant_id = $1 and user_id = $2", tenant.as_str(), user.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// The runs that were erased from a session without a user.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) session_id: SessionId,
    pub(super) seqs: Vec<i64>,
}

/// Erases all data of the user: sessions with everything in them, runs in sessions without a user, memories with their
/// history.
pub(super) async fn erase(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(Counts, Vec<Loss>), sqlx::Error> {
    let mut counts = sqlx::query_as!(
        Counts,
        r#"
        select count(*) as "sessions!", coalesce(sum(run_count), 0)::bigint as "runs!",
               coalesce(sum(message_count), 0)::bigint as "messages!",
               (select count(*) from memories where tenant_id = $1 and user_id = $2) as "memories!"
        from sessions
        where tenant_id = $1 and user_id = $2
        "#,
        tenant.as_str(),
        user.as_str(),
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("delete from memories where tenant_id = $1 and user_id = $2", tenant.as_str(), user.as_str())
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from sessions where tenant_id = $1 and user_id = $2", tenant.as_str(), user.as_str())
        .execute(&mut *connection)
        .await?;
    let losses = sqlx::query!(
        r#"
        with gone as (
            delete from runs r
            where r.tenant_id = $1 and r.user_id = $2 and r.is_shared
            returning r.session_id, r.seq, (
                select count(*) from messages m
                where m.tenant_id = $1 and m.session_id = r.session_id and m.seq = r.seq
            ) as messages
        ), lost as (
            select session_id, array_agg(seq) as seqs, sum(messages)::bigint as messages from gone group by session_id
        ), line as (
            -- The session's turn, and those who wait for theirs, without the runs that are gone.
            select l.session_id, array(
                select turn.seq
                from unnest(o.active_seq || o.waiting) with ordinality as turn (seq, place)
                where turn.seq is not null and turn.seq <> all(l.seqs)
                order by turn.place
            ) as seqs
            from lost l join sessions o on o.tenant_id = $1 and o.session_id = l.session_id
        )
        update sessions s set
            run_count = s.run_count - cardinality(lost.seqs),
            message_count = s.message_count - lost.messages,
            active_seq = line.seqs[1],
            waiting = line.seqs[2:],
            version = s.version + 1
        from lost join line using (session_id)
        where s.tenant_id = $1 and s.session_id = lost.session_id
        returning s.session_id, lost.seqs as "seqs!", lost.messages as "messages!"
        "#,
        tenant.as_str(),
        user.as_str(),
    )
    .fetch_all(connection)
    .await?;
    for loss in &losses {
        counts.runs += i64::try_from(loss.seqs.len()).unwrap_or(i64::MAX);
        counts.messages += loss.messages;
    }
    let losses = losses.into_iter().map(|row| Loss { session_id: SessionId::stored(row.session_id), seqs: row.seqs });
    Ok((counts, losses.collect()))
}

/// Sessions of the user after the id `after`, in the order of their ids, as JSON.
pub(super) async fn sessions(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, Value)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select s.session_id, jsonb_build_object(
            'type', 'session', 'session_id', s.session_id, 'session_type', s.session_type,
            'component_id', s.component_id, 'session_name', s.session_name, 'session_state', s.session_state,
            'metadata', s.metadata, 'created_at', s.created_at, 'updated_at', s.updated_at
        ) as "line!"
        from sessions s
        where s.tenant_id = $1 and s.user_id = $2 and s.session_id > $3
        order by s.session_id
        limit $4
        "#,
        tenant.as_str(),
        user.as_str(),
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.session_id, row.line)).collect())
}

/// Messages of the user's sessions, and of the user's runs in sessions without a user, after a position, in order, as
/// JSON: at most `limit`, and no more after about a megabyte.
pub(super) async fn messages(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    (session_id, seq, index): (&str, i64, i32),
    limit: i64,
) -> Result<Vec<((String, i64, i32), Value)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with page as (
            select theirs.session_id, told.seq, told.index, told.line
            from (
                select session_id, true as is_whole from sessions
                where tenant_id = $1 and user_id = $2 and session_id >= $3
                union all
                select distinct session_id, false from runs
                where tenant_id = $1 and user_id = $2 and is_shared and session_id >= $3
                order by session_id
            ) theirs
            cross join lateral (
                select m.seq, m.index, jsonb_build_object(
                    'type', 'message', 'session_id', r.session_id, 'run_id', r.run_id, 'seq', m.seq, 'index', m.index,
                    'message_id', m.message_id, 'role', m.role, 'content', m.content, 'tool_calls', m.tool_calls,
                    'tool_call_id', m.tool_call_id, 'tool_name', m.tool_name, 'created_at', m.created_at
                ) as line
                from runs r
                cross join lateral (
                    select * from messages
                    where messages.tenant_id = $1 and messages.session_id = r.session_id and messages.seq = r.seq
                    offset 0
                ) m
                where r.tenant_id = $1 and r.session_id = theirs.session_id
                  and (theirs.is_whole or r.user_id = $2)
                  and r.seq >= case when theirs.session_id = $3 then $4::bigint else 0 end
                  and (theirs.session_id <> $3 or r.seq > $4 or m.index > $5)
                order by r.seq, m.index
                limit $6
            ) told
            order by theirs.session_id, told.seq, told.index
            limit $6
        ), sized as (
            select *, sum(pg_column_size(line)) over (order by session_id, seq, index) - pg_column_size(line) as size_before
            from page
        )
        select session_id as "session_id!", seq as "seq!", index as "index!", line as "line!"
        from sized
        where size_before < 1000000
        order by session_id, seq, index
        "#,
        tenant.as_str(),
        user.as_str(),
        session_id,
        seq,
        index,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.session_id, row.seq, row.index), row.line)).collect())
}

/// Summary versions of the user's sessions after a position, in order, as JSON.
pub(super) async fn summaries(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    (session_id, through_seq): (&str, i64),
    limit: i64,
) -> Result<Vec<((String, i64), Value)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select v.session_id, v.through_seq, jsonb_build_object(
            'type', 'summary', 'session_id', v.session_id, 'through_seq', v.through_seq, 'summary', v.summary,
            'topics', v.topics, 'created_at', v.created_at
        ) as "line!"
        from sessions s join summaries v using (tenant_id, session_id)
        where s.tenant_id = $1 and s.user_id = $2 and (v.session_id, v.through_seq) > ($3, $4)
        order by v.session_id, v.through_seq
        limit $5
        "#,
        tenant.as_str(),
        user.as_str(),
        session_id,
        through_seq,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.session_id, row.through_seq), row.line)).collect())
}

/// Memories of the user after a time and id, including superseded ones, with their history, as JSON.
pub(super) async fn memories(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    (created_at, memory_id): (DateTime<Utc>, uuid::Uuid),
    limit: i64,
) -> Result<Vec<((DateTime<Utc>, uuid::Uuid), Value)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select m.created_at, m.memory_id, jsonb_build_object(
            'type', 'memory', 'memory_id', m.memory_id, 'memory', m.memory, 'topics', m.topics, 'agent_id', m.agent_id,
            'created_at', m.created_at, 'updated_at', m.updated_at, 'valid_to', m.valid_to,
            'superseded_by', m.superseded_by, 'expires_at', m.expires_at,
            'sources', (
                select coalesce(jsonb_agg(jsonb_build_object('session_id', s.session_id, 'seq', s.seq, 'index', s.index)), '[]')
                from memory_sources s
                where s.tenant_id = $1 and s.user_id = m.user_id and s.memory_id = m.memory_id
            ),
            'history', (
                select coalesce(jsonb_agg(jsonb_build_object(
                    'action', e.action, 'memory', e.memory, 'created_at', e.created_at
                ) order by e.created_at, e.event_id), '[]')
                from memory_events e
                where e.tenant_id = $1 and e.user_id = m.user_id and e.memory_id = m.memory_id
            )
        ) as "line!"
        from memories m
        where m.tenant_id = $1 and m.user_id = $2 and (m.created_at, m.memory_id) > ($3, $4)
        order by m.created_at, m.memory_id
        limit $5
        "#,
        tenant.as_str(),
        user.as_str(),
        created_at,
        memory_id,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.created_at, row.memory_id), row.line)).collect())
}
