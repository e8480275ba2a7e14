//! What a memory is.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    auth::UserId,
    sessions::SessionId,
    words::{NewerWord, words},
};

/// Longest text of a memory, in characters.
pub const MAX_CHARS: usize = 5_000;
/// How many topics a memory may have.
pub const MAX_TOPICS: usize = 20;
/// Longest topic, in characters.
pub const MAX_TOPIC_CHARS: usize = 100;

/// Minted here (UUIDv7), never taken from a client or a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = Uuid)]
pub struct MemoryId(pub Uuid);

impl MemoryId {
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for MemoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fact about a user.
#[derive(Clone, Debug)]
pub struct Memory {
    pub user_id: UserId,
    pub memory_id: MemoryId,
    pub memory: String,
    pub topics: Vec<String>,
    pub agent_id: Option<String>,
    pub team_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Since when it has been replaced; absent: it holds.
    pub valid_to: Option<DateTime<Utc>>,
    pub superseded_by: Option<MemoryId>,
    /// When it stops being found.
    pub expires_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
impl Memory {
    /// One that holds, for tests.
    pub(super) fn example(text: &str) -> Self {
        Self {
            user_id: UserId::stored("alice".into()),
            memory_id: MemoryId::mint(),
            memory: text.into(),
            topics: Vec::new(),
            agent_id: None,
            team_id: None,
            created_at: crate::clock::now(),
            updated_at: crate::clock::now(),
            valid_to: None,
            superseded_by: None,
            expires_at: None,
        }
    }
}

/// A run that a memory was drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub session_id: SessionId,
    pub seq: i64,
}

/// What happened to a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was learned, or told.
    Add,
    /// It was said again.
    Confirm,
    /// It was changed over the API.
    Edit,
    /// It took the place of an older memory.
    Supersede,
    Newer(NewerWord),
}

words!(Action, "memory_action", Some("What happened to a memory."), {
    Add => "add",
    Confirm => "confirm",
    Edit => "edit",
    Supersede => "supersede",
});

/// The text as the uniqueness of memories sees it: without case, marks and spaces that carry no meaning.
pub fn hash(text: &str) -> Vec<u8> {
    let plain: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let words: Vec<String> = plain.split_whitespace().map(str::to_lowercase).collect();
    // A text of marks alone, such as an emoji, is its own.
    let normal = if words.is_empty() { text.trim().to_owned() } else { words.join(" ") };
    Sha256::digest(normal).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fact_in_other_clothes_has_the_same_hash() {
        assert_eq!(hash("The user likes pizza."), hash("  the  user LIKES pizza!"));
        assert_ne!(hash("The user is 29"), hash("The user is 30"));
        assert_ne!(hash("🦀"), hash("🐍"));
    }
}
