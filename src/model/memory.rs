//! Memories.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{MemoryId, SessionId, UserId};
use crate::words::{NewerWord, words};

/// Longest text of a memory, in characters.
pub const MAX_CHARS: usize = 5_000;
/// How many topics a memory may have.
pub const MAX_TOPICS: usize = 20;
/// Longest topic, in characters.
pub const MAX_TOPIC_CHARS: usize = 100;

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
    /// When it was replaced; `None` while it is current.
    pub valid_to: Option<DateTime<Utc>>,
    pub superseded_by: Option<MemoryId>,
    /// From this time on it is not found any more.
    pub expires_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
impl Memory {
    /// A current memory, for tests.
    pub(crate) fn example(text: &str) -> Self {
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

/// The fields of a memory that a prompt needs.
#[derive(Clone, Debug)]
pub struct Brief {
    pub memory_id: MemoryId,
    pub memory: String,
    /// Tokens of its line in a prompt; `None` if they were not counted when it was stored.
    pub tokens: Option<i32>,
}

/// A message that a memory was drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub session_id: SessionId,
    pub seq: i64,
    /// The message within the run. The user's message is 0.
    pub index: i32,
}

/// What happened to a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was learned, or created explicitly.
    Add,
    /// It was said again.
    Confirm,
    /// It was changed over the API.
    Edit,
    /// It replaced an older memory.
    Supersede,
    Newer(NewerWord),
}

words!(Action, "memory_action", Some("What happened to a memory."), {
    Add => "add",
    Confirm => "confirm",
    Edit => "edit",
    Supersede => "supersede",
});

/// The hash by which memories are deduplicated. It ignores case, punctuation and spacing.
pub fn hash(text: &str) -> Vec<u8> {
    let plain: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let words: Vec<String> = plain.split_whitespace().map(str::to_lowercase).collect();
    // A text without letters and digits, such as an emoji, is hashed unchanged.
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
