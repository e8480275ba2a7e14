//! Hits as clients get them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::{Found, Hit, Kind, Parts, VectorUse};
use crate::{
    memories::wire::MemorySchema,
    runs::{Role, RunId},
    sessions::SessionId,
};

/// What was found, best first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResults<T> {
    pub data: Vec<T>,
    pub meta: SearchMeta,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchMeta {
    /// Milliseconds that the search took.
    pub search_time_ms: f64,
    /// With `explain`: whether vectors were used beside words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<VectorUse>,
}

impl<T> SearchResults<T> {
    pub(super) fn new(data: Vec<T>, took: Duration, vectors: Option<VectorUse>) -> Self {
        let search_time_ms = (took.as_secs_f64() * 100_000.0).round() / 100.0;
        Self { data, meta: SearchMeta { search_time_ms, vectors } }
    }
}

/// A message or a memory.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchHit {
    #[serde(rename = "type")]
    kind: Kind,
    /// The sum of the parts. Scores of one search can be compared, those of two cannot.
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<SearchMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemorySchema>,
    /// With `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Parts>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchMessage {
    session_id: SessionId,
    run_id: RunId,
    seq: i64,
    id: Uuid,
    role: Role,
    content: String,
    created_at: DateTime<Utc>,
}

impl SearchHit {
    pub(super) fn new(hit: Hit, explain: bool) -> Self {
        let (kind, message, memory) = match hit.found {
            Found::Memory(memory) => (Kind::Memory, None, Some(memory.into())),
            Found::Message(found) => {
                let message = SearchMessage {
                    session_id: found.session_id,
                    run_id: found.run_id,
                    seq: found.seq,
                    id: found.message_id,
                    role: found.role,
                    content: found.content,
                    created_at: found.created_at,
                };
                (Kind::Message, Some(message), None)
            }
        };
        Self { kind, score: hit.score, message, memory, explain: explain.then_some(hit.parts) }
    }
}

/// A memory, why it was found, and how well it fits.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryHit {
    #[serde(flatten)]
    memory: MemorySchema,
    score: f64,
    /// Which lists have put it here.
    #[schema(example = json!(["keyword"]))]
    found_by: Vec<&'static str>,
    /// With `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Parts>,
}

impl MemoryHit {
    /// `None` for what is no memory.
    pub(super) fn new(hit: Hit, explain: bool) -> Option<Self> {
        let Found::Memory(memory) = hit.found else { return None };
        let lists = [("keyword", hit.parts.keyword), ("vector", hit.parts.vector), ("date", hit.parts.date)];
        Some(Self {
            memory: memory.into(),
            score: hit.score,
            found_by: lists.iter().filter(|(_, part)| *part > 0.0).map(|(name, _)| *name).collect(),
            explain: explain.then_some(hit.parts),
        })
    }
}
