//! Queries and results of a search.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Memory, MemoryId, Role, RunId, Scope, ScoreParts, SessionId};

/// Maximum length of a question, in characters.
pub const MAX_QUERY_CHARS: usize = 10_000;

/// The kinds of search results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Message,
    Memory,
}

/// A search over the data of the user of `scope`, or over one session of it. Without a user, only a session can be
/// searched.
#[derive(Clone, Debug)]
pub struct Search {
    pub query: String,
    pub scope: Scope,
    pub session_id: Option<SessionId>,
    pub messages: bool,
    pub memories: bool,
    /// Only what was said or learned at or after this time.
    pub from: Option<DateTime<Utc>>,
    /// Only what was said or learned before this time.
    pub to: Option<DateTime<Utc>>,
    pub filter: SearchFilter,
    pub limit: usize,
    /// Token budget for all texts together; texts that do not fit are skipped.
    pub max_tokens: Option<usize>,
}

impl Search {
    /// A search over all memories of the scope, without limits.
    pub fn of_memories(scope: Scope, query: String) -> Self {
        Self {
            query,
            scope,
            session_id: None,
            messages: false,
            memories: true,
            from: None,
            to: None,
            filter: SearchFilter::default(),
            limit: usize::MAX,
            max_tokens: None,
        }
    }
}

/// Filters for memories.
#[derive(Clone, Debug, Default)]
pub struct SearchFilter {
    pub agent_id: Option<String>,
    /// A memory must have all of these; in lower case.
    pub topics: Vec<String>,
}

impl SearchFilter {
    pub fn is_empty(&self) -> bool {
        self.agent_id.is_none() && self.topics.is_empty()
    }
}

/// The position of a message: its session, its run, its index within the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub session_id: String,
    pub seq: i64,
    pub index: i32,
}

/// A message or a memory, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    Message(Place),
    Memory(MemoryId),
}

/// Whether the search also compared vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VectorUse {
    /// No embedding model is configured; the search used words only.
    #[default]
    Off,
    Used,
    /// The embedding model did not answer in time; the search used words only.
    Unavailable,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct SearchOutcome {
    /// Best first.
    pub hits: Vec<Hit>,
    pub vectors: VectorUse,
}

/// One result, with its score and the parts of the score.
#[derive(Clone, Debug)]
pub struct Hit {
    pub score: f64,
    pub parts: ScoreParts,
    pub found: FoundItem,
}

#[derive(Clone, Debug)]
pub enum FoundItem {
    Message(FoundMessage),
    Memory(Memory),
}

impl FoundItem {
    pub fn text(&self) -> &str {
        match self {
            Self::Message(message) => &message.content,
            Self::Memory(memory) => &memory.memory,
        }
    }
}

#[derive(Clone, Debug)]
pub struct FoundMessage {
    pub session_id: SessionId,
    pub run_id: RunId,
    pub seq: i64,
    pub message_id: uuid::Uuid,
    pub role: Role,
    pub content: String,
    pub created_at: DateTime<Utc>,
}
