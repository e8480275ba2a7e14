//! What is searched for, and what is found.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Scope,
    memories::{Memory, MemoryId},
    runs::{Role, RunId},
    sessions::SessionId,
};

/// Longest question, in characters.
pub const MAX_QUERY_CHARS: usize = 10_000;

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Message,
    Memory,
}

/// A search in the rows of `scope`, which is a user's, or in one session of these.
#[derive(Clone, Debug)]
pub struct Search {
    pub query: String,
    pub scope: Scope,
    pub session_id: Option<SessionId>,
    pub messages: bool,
    pub memories: bool,
    /// Said or learned at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Said or learned before this time.
    pub to: Option<DateTime<Utc>>,
    pub filter: MemoryFilter,
    pub limit: usize,
    /// How much all texts may take together; what does not fit is passed over.
    pub max_tokens: Option<usize>,
}

impl Search {
    /// A search over all memories of a user, without bounds.
    pub fn of_memories(scope: Scope, query: String) -> Self {
        Self {
            query,
            scope,
            session_id: None,
            messages: false,
            memories: true,
            from: None,
            to: None,
            filter: MemoryFilter::default(),
            limit: usize::MAX,
            max_tokens: None,
        }
    }
}

/// Which memories may be found.
#[derive(Clone, Debug, Default)]
pub struct MemoryFilter {
    pub agent_id: Option<String>,
    /// All of these, in lower case.
    pub topics: Vec<String>,
}

impl MemoryFilter {
    pub fn is_empty(&self) -> bool {
        self.agent_id.is_none() && self.topics.is_empty()
    }
}

/// What a score is made of. Each part has its weight in it already; their sum is the score. What is 0
/// is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Parts {
    /// BM25, divided by the best of the search.
    #[serde(skip_serializing_if = "is_zero")]
    pub keyword: f64,
    /// How near its vector is to that of the question, between the hundredth nearest and the nearest; 0 without vectors.
    #[serde(skip_serializing_if = "is_zero")]
    pub vector: f64,
    /// Memories that were drawn from the turn.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory: f64,
    /// Turns beside it.
    #[serde(skip_serializing_if = "is_zero")]
    pub neighbour: f64,
    /// The best turns of its session.
    #[serde(skip_serializing_if = "is_zero")]
    pub session: f64,
    /// A date that the question names.
    #[serde(skip_serializing_if = "is_zero")]
    pub date: f64,
    /// A person that the question names.
    #[serde(skip_serializing_if = "is_zero")]
    pub speaker: f64,
    /// What users say counts more than what they are answered.
    #[serde(skip_serializing_if = "is_zero")]
    pub role: f64,
    /// What tells something counts more than what only asks.
    #[serde(skip_serializing_if = "is_zero")]
    pub statement: f64,
}

impl Parts {
    pub fn sum(&self) -> f64 {
        let of_text = self.keyword + self.vector + self.memory;
        let of_place = self.neighbour + self.session + self.date;
        of_text + of_place + self.speaker + self.role + self.statement
    }

    /// To four places, for what is kept.
    pub fn rounded(self) -> Self {
        Self {
            keyword: rounded(self.keyword),
            vector: rounded(self.vector),
            memory: rounded(self.memory),
            neighbour: rounded(self.neighbour),
            session: rounded(self.session),
            date: rounded(self.date),
            speaker: rounded(self.speaker),
            role: rounded(self.role),
            statement: rounded(self.statement),
        }
    }
}

/// To four places.
pub fn rounded(score: f64) -> f64 {
    (score * 1e4).round() / 1e4
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(part: &f64) -> bool {
    *part == 0.0
}

/// Where a message stands: its session, its run, its place within the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub session_id: String,
    pub seq: i64,
    pub index: i32,
}

/// What a row of the index is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    Message(Place),
    Memory(MemoryId),
}

/// Whether a search went by vectors too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VectorUse {
    /// There is no embedding model: by words alone.
    #[default]
    Off,
    Used,
    /// The embedding model did not answer in time: by words alone.
    Unavailable,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Best first.
    pub hits: Vec<Hit>,
    pub vectors: VectorUse,
}

/// Something that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    pub score: f64,
    pub parts: Parts,
    pub found: Found,
}

#[derive(Clone, Debug)]
pub enum Found {
    Message(FoundMessage),
    Memory(Memory),
}

impl Found {
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
