//! Reads memories as rows, for searches and for `memories`.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use crate::model::{Memory, MemoryId, Scope, UserId, memory::Brief};

/// Selects memories as `m`; the argument is the rest of the statement.
macro_rules! select_memories {
    ($rest:literal $(+ $more:literal)*, $($parameter:expr),* $(,)?) => {
        sqlx::query_as!(
            $crate::search::store::memories::MemoryRow,
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
pub(crate) use select_memories;

/// A row of `memories`.
pub(crate) struct MemoryRow {
    pub(crate) user_id: String,
    pub(crate) memory_id: MemoryId,
    pub(crate) memory: String,
    pub(crate) topics: Vec<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) team_id: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) valid_to: Option<DateTime<Utc>>,
    pub(crate) superseded_by: Option<MemoryId>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl MemoryRow {
    pub(crate) fn into_memory(self) -> Memory {
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

/// Memories by id, unordered. Ids that do not exist, or are out of scope, are skipped.
pub async fn find_all(
    db: impl PgExecutor<'_>,
    scope: &Scope,
    memory_ids: &[MemoryId],
) -> Result<Vec<Memory>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = memory_ids.iter().map(|id| id.0).collect();
    let rows = select_memories!(
        "where m.tenant_id = $1 and m.memory_id = any($2) and ($3::text is null or m.user_id = $3)",
        scope.tenant(),
        &ids,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(MemoryRow::into_memory).collect())
}

/// As [`find_all`], with only the columns that a prompt needs.
pub async fn briefs(db: &PgPool, scope: &Scope, memory_ids: &[MemoryId]) -> Result<Vec<Brief>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = memory_ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Brief,
        r#"
        select memory_id as "memory_id: MemoryId", memory, tokens
        from memories
        where tenant_id = $1 and memory_id = any($2) and ($3::text is null or user_id = $3)
        "#,
        scope.tenant(),
        &ids,
        scope.user(),
    )
    .fetch_all(db)
    .await
}
