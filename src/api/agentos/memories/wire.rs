//! Memories in responses: the AgentOS shapes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::agentos::runs::wire::rfc3339,
    events::KnownMemory,
    memories::store::{Event, UserStats},
    model::{Memory, MemoryId, RunId, UserId, memory::Action},
};

/// A memory. Fields of AgentOS that have no value are `null`, not left out.
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
    /// When the memory expires and is no longer found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When the memory was superseded by another.
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

/// One change of a memory, or of one that it superseded.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryEvent {
    pub memory_id: MemoryId,
    pub action: Action,
    pub before: Option<String>,
    pub after: String,
    pub topics: Vec<String>,
    /// The session of the run that caused the change; `null` if it was made over the API.
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

/// A memory in `MemoryUpdateCompleted`, where times are UTC without a time zone.
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

impl From<KnownMemory> for UpdatedMemory {
    fn from(memory: KnownMemory) -> Self {
        let without_zone = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S").to_string();
        Self {
            memory_id: memory.memory_id,
            memory: memory.memory,
            topics: memory.topics,
            created_at: without_zone(memory.created_at),
            updated_at: without_zone(memory.updated_at),
            input: memory.input,
            user_id: memory.user_id,
            agent_id: memory.agent_id,
        }
    }
}
