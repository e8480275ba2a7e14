//! Search hits in responses.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    api::agentos::memories::wire::MemorySchema,
    model::{Role, RunId, ScoreParts, SessionId},
    search::model::{FoundItem, Hit, Kind, VectorUse},
};

/// Search results, best first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResults<T> {
    pub data: Vec<T>,
    pub meta: SearchMeta,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchMeta {
    /// Duration of the search in milliseconds.
    pub search_time_ms: f64,
    /// Only with `explain`: whether vectors were used in addition to keywords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<VectorUse>,
}

impl<T> SearchResults<T> {
    pub(crate) fn new(data: Vec<T>, took: Duration, vectors: Option<VectorUse>) -> Self {
        let search_time_ms = (took.as_secs_f64() * 100_000.0).round() / 100.0;
        Self { data, meta: SearchMeta { search_time_ms, vectors } }
    }
}

/// A message or a memory.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchHit {
    #[serde(rename = "type")]
    kind: Kind,
    /// The sum of the score's parts. Scores are comparable only within one search.
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<SearchMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemorySchema>,
    /// Only with `explain`: the parts of the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ScoreParts>,
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
    pub(crate) fn new(hit: Hit, explain: bool) -> Self {
        let (kind, message, memory) = match hit.found {
            FoundItem::Memory(memory) => (Kind::Memory, None, Some(memory.into())),
            FoundItem::Message(found) => {
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

/// A memory with its score and the rankings that found it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryHit {
    #[serde(flatten)]
    memory: MemorySchema,
    score: f64,
    /// The rankings that found it: `keyword`, `vector` or `date`.
    #[schema(example = json!(["keyword"]))]
    found_by: Vec<&'static str>,
    /// Only with `explain`: the parts of the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ScoreParts>,
}

impl MemoryHit {
    /// `None` if the hit is not a memory.
    pub(crate) fn new(hit: Hit, explain: bool) -> Option<Self> {
        let FoundItem::Memory(memory) = hit.found else { return None };
        let lists = [("keyword", hit.parts.keyword), ("vector", hit.parts.vector), ("date", hit.parts.date)];
        Some(Self {
            memory: memory.into(),
            score: hit.score,
            found_by: lists.iter().filter(|(_, part)| *part > 0.0).map(|(name, _)| *name).collect(),
            explain: explain.then_some(hit.parts),
        })
    }
}
