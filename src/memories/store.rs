//! Memories in PostgreSQL: SQL in, rows out. Every statement except those that erase expired memories is limited to
//! one user's memories or filters by a [`Scope`].
//!
//! This file has the reads of the API; `writing` has the changes and `erasing` the deletions, `known` finds what may
//! state the same, `history` has the events of memories, `turns` the unread turns.

mod erasing;
mod history;
mod known;
mod turns;
mod writing;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    model::{
        Memory, MemoryId, Scope, TenantId, UserId,
        memory::Brief,
        paging::{PageRequest, SortOrder},
    },
    search::store::memories::{MemoryRow, select_memories},
};

pub use self::erasing::{delete, delete_expired, forget, tenants_with_expiring};
pub use self::history::{Event, MemoryWithInput, history, with_input};
pub use self::known::{Similar, find_by_hash, hold, similar};
pub use self::turns::{
    Said, Turn, count_attempt, has_tried_turns, hold_sessions, hold_unread, new_turns, note_turns, take_turns,
    take_up_again, tried_turns,
};
pub use self::writing::{
    Confirmation, Edit, Expiry, NewMemory, Recorded, add_sources, confirm, edit, end, inherit, insert, lock_user,
    record,
};

/// Filters of a list. Superseded and expired memories are never listed.
#[derive(Clone, Debug, Default)]
pub struct MemoryFilter {
    pub agent_id: Option<String>,
    pub team_id: Option<String>,
    /// A memory must have all of these, in any case.
    pub topics: Vec<String>,
    /// A substring of the text, in any case; `%` and `_` are no wildcards.
    pub content: Option<String>,
}

impl MemoryFilter {
    fn pattern(&self) -> Option<String> {
        let content = self.content.as_deref()?;
        let literal = content.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        Some(format!("%{literal}%"))
    }

    fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.to_lowercase()).collect()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    #[default]
    UpdatedAt,
    CreatedAt,
    Memory,
}

/// One page of the matching memories, in a total order: the sort field, then the id.
pub async fn list(
    db: &PgPool,
    scope: &Scope,
    filter: &MemoryFilter,
    (sort_by, order): (SortBy, SortOrder),
    page: PageRequest,
) -> Result<Vec<Memory>, sqlx::Error> {
    macro_rules! page_by {
        ($order:literal) => {
            select_memories!(
                r"
                where m.tenant_id = $1
                  and ($2::text is null or m.user_id = $2)
                  and m.valid_to is null
                  and (m.expires_at is null or m.expires_at > now())
                  and ($3::text is null or m.agent_id = $3)
                  and ($4::text is null or m.team_id = $4)
                  and lower(m.topics::text)::text[] @> $5
                  and ($6::text is null or m.memory ilike $6)
                order by "
                    + $order
                    + " limit $7 offset $8",
                scope.tenant(),
                scope.user(),
                filter.agent_id,
                filter.team_id,
                &filter.topics(),
                filter.pattern(),
                page.limit(),
                page.offset(),
            )
            .fetch_all(db)
            .await?
        };
    }
    let rows = match (sort_by, order) {
        (SortBy::UpdatedAt, SortOrder::Asc) => page_by!("m.updated_at, m.memory_id"),
        (SortBy::UpdatedAt, SortOrder::Desc) => page_by!("m.updated_at desc, m.memory_id desc"),
        (SortBy::CreatedAt, SortOrder::Asc) => page_by!("m.created_at, m.memory_id"),
        (SortBy::CreatedAt, SortOrder::Desc) => page_by!("m.created_at desc, m.memory_id desc"),
        (SortBy::Memory, SortOrder::Asc) => page_by!("m.memory, m.memory_id"),
        (SortBy::Memory, SortOrder::Desc) => page_by!("m.memory desc, m.memory_id desc"),
    };
    Ok(rows.into_iter().map(MemoryRow::into_memory).collect())
}

/// The number of matching memories.
pub async fn count(db: &PgPool, scope: &Scope, filter: &MemoryFilter) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from memories m
        where m.tenant_id = $1
          and ($2::text is null or m.user_id = $2)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
          and ($3::text is null or m.agent_id = $3)
          and ($4::text is null or m.team_id = $4)
          and lower(m.topics::text)::text[] @> $5
          and ($6::text is null or m.memory ilike $6)
        "#,
        scope.tenant(),
        scope.user(),
        filter.agent_id,
        filter.team_id,
        &filter.topics(),
        filter.pattern(),
    )
    .fetch_one(db)
    .await
}

/// A memory by id, even if it is superseded or expired.
pub async fn find(db: &PgPool, scope: &Scope, memory_id: MemoryId) -> Result<Option<Memory>, sqlx::Error> {
    let row = select_memories!(
        "where m.tenant_id = $1 and m.memory_id = $2 and ($3::text is null or m.user_id = $3)",
        scope.tenant(),
        memory_id as MemoryId,
        scope.user(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(MemoryRow::into_memory))
}

/// A user's current memories, the newest first, at most `limit` of them.
pub async fn newest(db: &PgPool, tenant: &TenantId, user: &UserId, limit: i64) -> Result<Vec<Memory>, sqlx::Error> {
    let rows = select_memories!(
        r"
        where m.tenant_id = $1 and m.user_id = $2 and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        order by m.updated_at desc, m.memory_id desc
        limit $3
        ",
        tenant.as_str(),
        user.as_str(),
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(MemoryRow::into_memory).collect())
}

/// As [`newest`], with only the columns that a prompt needs.
pub async fn newest_briefs(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    limit: i64,
) -> Result<Vec<Brief>, sqlx::Error> {
    sqlx::query_as!(
        Brief,
        r#"
        select memory_id as "memory_id: MemoryId", memory, tokens
        from memories
        where tenant_id = $1 and user_id = $2 and valid_to is null and (expires_at is null or expires_at > now())
        order by updated_at desc, memory_id desc
        limit $3
        "#,
        tenant.as_str(),
        user.as_str(),
        limit,
    )
    .fetch_all(db)
    .await
}

/// All distinct topics of the current memories, in alphabetical order; at most 10,000.
pub async fn topics(db: &PgPool, scope: &Scope) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select distinct topic collate "C" as "topic!"
        from memories m, unnest(m.topics) topic
        where m.tenant_id = $1
          and ($2::text is null or m.user_id = $2)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        order by 1
        limit 10000
        "#,
        scope.tenant(),
        scope.user(),
    )
    .fetch_all(db)
    .await
}

/// The number of current memories of a user.
#[derive(Debug)]
pub struct UserStats {
    pub user_id: String,
    pub total_memories: i64,
    pub last_memory_updated_at: DateTime<Utc>,
}

/// One page of the users with memories, the most recently changed first, and the number of such users.
pub async fn stats(db: &PgPool, scope: &Scope, page: PageRequest) -> Result<(Vec<UserStats>, i64), sqlx::Error> {
    let users = sqlx::query_as!(
        UserStats,
        r#"
        select m.user_id, count(*) as "total_memories!", max(m.updated_at) as "last_memory_updated_at!"
        from memories m
        where m.tenant_id = $1
          and ($2::text is null or m.user_id = $2)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        group by m.user_id
        order by 3 desc, 1
        limit $3 offset $4
        "#,
        scope.tenant(),
        scope.user(),
        page.limit(),
        page.offset(),
    )
    .fetch_all(db)
    .await?;
    let total = sqlx::query_scalar!(
        r#"
        select count(distinct m.user_id) as "count!"
        from memories m
        where m.tenant_id = $1
          and ($2::text is null or m.user_id = $2)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        "#,
        scope.tenant(),
        scope.user(),
    )
    .fetch_one(db)
    .await?;
    Ok((users, total))
}
