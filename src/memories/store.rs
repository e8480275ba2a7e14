//! Memories in PostgreSQL: SQL in, rows out. Every statement is on one user's memories or filters by a [`Scope`].
//!
//! Here is what the API reads; `writing` has what changes memories, `history` what happened to them,
//! `turns` what is still to be read.

mod history;
mod turns;
mod writing;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::{PgExecutor, PgPool};

use super::{
    line::Brief,
    model::{Memory, MemoryId},
};
use crate::{
    auth::{Scope, UserId},
    http::paging::{PageRequest, SortOrder},
};

pub use history::{Event, MemoryWithInput, history, with_input};
pub use turns::{Turn, count_attempt, hold_unread, new_turns, note_turns, take_turns, take_up_again, tried_turns};
pub use writing::{
    Edit, Expiry, NewMemory, Recorded, Similar, add_sources, confirm, delete, delete_expired, edit, end, find_by_hash,
    forget, inherit, insert, lock_user, record, similar,
};

/// Reads memories `m`; what follows is the rest of the statement.
macro_rules! select_memories {
    ($rest:literal $(+ $more:literal)*, $($parameter:expr),* $(,)?) => {
        sqlx::query_as!(
            $crate::memories::store::MemoryRow,
            r#"
            select m.user_id, m.memory_id as "memory_id: MemoryId", m.memory, m.topics, m.agent_id, m.team_id,
                   m.created_at, m.updated_at, m.valid_to, m.superseded_by as "superseded_by: MemoryId", m.expires_at
            from memories m
            "#
            + $rest $(+ $more)*,
            $($parameter),*
        )
    };
}
pub(super) use select_memories;

/// Which memories to list. Those that were replaced or have expired are in no list.
#[derive(Clone, Debug, Default)]
pub struct MemoryFilter {
    pub agent_id: Option<String>,
    pub team_id: Option<String>,
    /// All of these, in any case.
    pub topics: Vec<String>,
    /// A part of the text, in any case; `%` and `_` are ordinary characters.
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

/// One page of the memories that fit, in a total order: the sort field, then the id.
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
                where ($1::text is null or m.user_id = $1)
                  and m.valid_to is null
                  and (m.expires_at is null or m.expires_at > now())
                  and ($2::text is null or m.agent_id = $2)
                  and ($3::text is null or m.team_id = $3)
                  and lower(m.topics::text)::text[] @> $4
                  and ($5::text is null or m.memory ilike $5)
                order by "
                    + $order
                    + " limit $6 offset $7",
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

/// How many memories fit.
pub async fn count(db: &PgPool, scope: &Scope, filter: &MemoryFilter) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from memories m
        where ($1::text is null or m.user_id = $1)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
          and ($2::text is null or m.agent_id = $2)
          and ($3::text is null or m.team_id = $3)
          and lower(m.topics::text)::text[] @> $4
          and ($5::text is null or m.memory ilike $5)
        "#,
        scope.user(),
        filter.agent_id,
        filter.team_id,
        &filter.topics(),
        filter.pattern(),
    )
    .fetch_one(db)
    .await
}

/// A memory, also one that was replaced or has expired.
pub async fn find(db: &PgPool, scope: &Scope, memory_id: MemoryId) -> Result<Option<Memory>, sqlx::Error> {
    let row = select_memories!(
        "where m.memory_id = $1 and ($2::text is null or m.user_id = $2)",
        memory_id as MemoryId,
        scope.user(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(MemoryRow::into_memory))
}

/// These memories, in no order. Ids that are not there, or not the caller's, are passed over.
pub async fn find_all(
    db: impl PgExecutor<'_>,
    scope: &Scope,
    memory_ids: &[MemoryId],
) -> Result<Vec<Memory>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = memory_ids.iter().map(|id| id.0).collect();
    let rows =
        select_memories!("where m.memory_id = any($1) and ($2::text is null or m.user_id = $2)", &ids, scope.user(),)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(MemoryRow::into_memory).collect())
}

/// A user's memories that hold, the newest first, at most `limit` of them.
pub async fn newest(db: &PgPool, user: &UserId, limit: i64) -> Result<Vec<Memory>, sqlx::Error> {
    let rows = select_memories!(
        r"
        where m.user_id = $1 and m.valid_to is null and (m.expires_at is null or m.expires_at > now())
        order by m.updated_at desc, m.memory_id desc
        limit $2
        ",
        user.as_str(),
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(MemoryRow::into_memory).collect())
}

/// These memories, as far as a prompt needs them, in no order.
pub async fn briefs(db: &PgPool, scope: &Scope, memory_ids: &[MemoryId]) -> Result<Vec<Brief>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = memory_ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Brief,
        r#"
        select memory_id as "memory_id: MemoryId", memory, tokens
        from memories
        where memory_id = any($1) and ($2::text is null or user_id = $2)
        "#,
        &ids,
        scope.user(),
    )
    .fetch_all(db)
    .await
}

/// A user's newest memories that hold, as far as a prompt needs them, the newest first.
pub async fn newest_briefs(db: &PgPool, user: &UserId, limit: i64) -> Result<Vec<Brief>, sqlx::Error> {
    sqlx::query_as!(
        Brief,
        r#"
        select memory_id as "memory_id: MemoryId", memory, tokens
        from memories
        where user_id = $1 and valid_to is null and (expires_at is null or expires_at > now())
        order by updated_at desc, memory_id desc
        limit $2
        "#,
        user.as_str(),
        limit,
    )
    .fetch_all(db)
    .await
}

/// Every topic of the memories that hold, in alphabetical order.
pub async fn topics(db: &PgPool, scope: &Scope) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select distinct topic collate "C" as "topic!"
        from memories m, unnest(m.topics) topic
        where ($1::text is null or m.user_id = $1)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        order by 1
        limit 10000
        "#,
        scope.user(),
    )
    .fetch_all(db)
    .await
}

/// How many memories a user has.
#[derive(Debug)]
pub struct UserStats {
    pub user_id: String,
    pub total_memories: i64,
    pub last_memory_updated_at: DateTime<Utc>,
}

/// One page of the users with memories, the last changed first, and how many users there are.
pub async fn stats(db: &PgPool, scope: &Scope, page: PageRequest) -> Result<(Vec<UserStats>, i64), sqlx::Error> {
    let users = sqlx::query_as!(
        UserStats,
        r#"
        select m.user_id, count(*) as "total_memories!", max(m.updated_at) as "last_memory_updated_at!"
        from memories m
        where ($1::text is null or m.user_id = $1)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        group by m.user_id
        order by 3 desc, 1
        limit $2 offset $3
        "#,
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
        where ($1::text is null or m.user_id = $1)
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
        "#,
        scope.user(),
    )
    .fetch_one(db)
    .await?;
    Ok((users, total))
}

/// A row of `memories`.
pub(super) struct MemoryRow {
    pub(super) user_id: String,
    pub(super) memory_id: MemoryId,
    pub(super) memory: String,
    pub(super) topics: Vec<String>,
    pub(super) agent_id: Option<String>,
    pub(super) team_id: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) valid_to: Option<DateTime<Utc>>,
    pub(super) superseded_by: Option<MemoryId>,
    pub(super) expires_at: Option<DateTime<Utc>>,
}

impl MemoryRow {
    pub(super) fn into_memory(self) -> Memory {
        Memory {
            user_id: UserId::stored(self.user_id),
            memory_id: self.memory_id,
            memory: self.memory,
            topics: self.topics,
            agent_id: self.agent_id,
            team_id: self.team_id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            valid_to: self.valid_to,
            superseded_by: self.superseded_by,
            expires_at: self.expires_at,
        }
    }
}
