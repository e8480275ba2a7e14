//! Memories as clients get them: the shapes of AgentOS.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    model::{Action, Memory, MemoryId},
    store::{Event, MemoryWithInput, UserStats},
};
use crate::{auth::UserId, runs::RunId, runs::wire::rfc3339};

/// A memory. Nulls are sent, as on the wire.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemorySchema {
    pub memory_id: MemoryId,
    #[schema(example = "Alice likes jazz.")]
    pub memory: String,
    pub topics: Option<Vec<String>>,
    pub agent_id: Option<String>,
    pub team_id: Option<String>,
    pub user_id: UserId,
    #[schema(example = "2026-11-22T10:06:28Z")]
    pub updated_at: String,
    pub created_at: String,
    /// When it stops being found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Since when another memory has taken its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<MemoryId>,
}

impl From<Memory> for MemorySchema {
    fn from(memory: Memory) -> Self {
        Self {
            memory_id: memory.memory_id,
            memory: memory.memory,
            topics: (!memory.topics.is_empty()).then_some(memory.topics),
            agent_id: memory.agent_id,
            team_id: memory.team_id,
            user_id: memory.user_id,
            updated_at: rfc3339(memory.updated_at),
            created_at: rfc3339(memory.created_at),
            expires_at: memory.expires_at.map(rfc3339),
            valid_to: memory.valid_to.map(rfc3339),
            superseded_by: memory.superseded_by,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserMemoryStats {
    pub user_id: String,
    pub total_memories: i64,
    pub last_memory_updated_at: String,
}

impl From<UserStats> for UserMemoryStats {
    fn from(stats: UserStats) -> Self {
        Self {
            user_id: stats.user_id,
            total_memories: stats.total_memories,
            last_memory_updated_at: rfc3339(stats.last_memory_updated_at),
        }
    }
}

/// One change of a memory, or of one that it took the place of.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryEvent {
    pub memory_id: MemoryId,
    pub action: Action,
    pub before: Option<String>,
    pub after: String,
    pub topics: Vec<String>,
    /// The run that said so; null: the API.
    pub session_id: Option<String>,
    pub run_id: Option<RunId>,
    pub created_at: DateTime<Utc>,
}

impl From<Event> for MemoryEvent {
    fn from(event: Event) -> Self {
        let Event { memory_id, action, before, after, topics, session_id, run_id, created_at } = event;
        Self { memory_id, action, before, after, topics, session_id, run_id, created_at }
    }
}

/// A memory in `MemoryUpdateCompleted`: its times have no zone there.
#[derive(Clone, Debug, Serialize)]
pub struct UpdatedMemory {
    pub memory_id: MemoryId,
    pub memory: String,
    pub topics: Vec<String>,
    pub created_at: String,
    pub updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    pub user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

impl From<MemoryWithInput> for UpdatedMemory {
    fn from(MemoryWithInput { memory, input }: MemoryWithInput) -> Self {
        let without_zone = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S").to_string();
        Self {
            memory_id: memory.memory_id,
            memory: memory.memory,
            topics: memory.topics,
            created_at: without_zone(memory.created_at),
            updated_at: without_zone(memory.updated_at),
            input,
            user_id: memory.user_id,
            agent_id: memory.agent_id,
        }
    }
}
