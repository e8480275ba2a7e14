//! The events of memories, and the messages that they came from.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::model::{Memory, MemoryId, RunId, Scope, TenantId, UserId, memory::Action};
use crate::search::store::memories::select_memories;

/// One change of a memory, with its text before and after.
#[derive(Debug)]
pub struct Event {
    pub memory_id: MemoryId,
    pub action: Action,
    pub before: Option<String>,
    pub after: String,
    pub topics: Vec<String>,
    pub session_id: Option<String>,
    pub run_id: Option<RunId>,
    pub created_at: DateTime<Utc>,
}

/// The events of a memory and of those that it superseded, oldest first.
pub async fn history(db: &PgPool, scope: &Scope, memory_id: MemoryId) -> Result<Vec<Event>, sqlx::Error> {
    sqlx::query_as!(
        Event,
        r#"
        with recursive line as (
            select m.user_id, m.memory_id
            from memories m
            where m.tenant_id = $1 and m.memory_id = $2 and ($3::text is null or m.user_id = $3)
            union
            select m.user_id, m.memory_id
            from line join memories m
              on m.tenant_id = $1 and m.user_id = line.user_id and m.superseded_by = line.memory_id
        )
        select e.memory_id as "memory_id: MemoryId", e.action as "action: Action",
               lag(e.memory) over (order by e.created_at, e.event_id) as before, e.memory as after, e.topics,
               e.session_id as "session_id?", r.run_id as "run_id?: RunId", e.created_at
        from line
        join memory_events e on e.tenant_id = $1 and e.user_id = line.user_id and e.memory_id = line.memory_id
        left join runs r on r.tenant_id = $1 and r.session_id = e.session_id and r.seq = e.seq
        order by e.created_at, e.event_id
        "#,
        scope.tenant(),
        memory_id as MemoryId,
        scope.user(),
    )
    .fetch_all(db)
    .await
}

/// A memory with the user's message of the latest run that it was learned from.
#[derive(Debug)]
pub struct MemoryWithInput {
    pub memory: Memory,
    pub input: Option<String>,
}

/// A user's current memories, oldest first, at most `limit` of them, each with the
/// user's message of its latest source.
pub async fn with_input(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    limit: i64,
) -> Result<Vec<MemoryWithInput>, sqlx::Error> {
    let rows = select_memories!(
        r"
        where m.tenant_id = $1 and m.user_id = $2 and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        order by m.created_at, m.memory_id
        limit $3
        ",
        tenant.as_str(),
        user.as_str(),
        limit,
    )
    .fetch_all(db)
    .await?;
    let inputs = sqlx::query!(
        r#"
        select distinct on (s.memory_id) s.memory_id as "memory_id: MemoryId", r.input
        from memory_sources s join runs r using (tenant_id, session_id, seq)
        where s.tenant_id = $1 and s.user_id = $2 and r.message_id is not null
        order by s.memory_id, r.created_at desc
        "#,
        tenant.as_str(),
        user.as_str(),
    )
    .fetch_all(db)
    .await?;
    let mut inputs: std::collections::HashMap<_, _> =
        inputs.into_iter().map(|row| (row.memory_id, row.input)).collect();
    Ok(rows
        .into_iter()
        .map(|row| MemoryWithInput { input: inputs.remove(&row.memory_id), memory: row.into_memory() })
        .collect())
}
