//! Settings of search and memories.

use std::time::Duration;

use serde::Deserialize;

use super::EmbeddingSettings;

/// How what was said and what is remembered is found again.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSettings {
    /// The text search configuration of PostgreSQL by which words are told apart. `english` also matches other forms of
    /// an English word, and takes words of other languages nearly as they are; `simple` knows no language.
    pub text_config: String,
    /// BM25: how soon further occurrences of a word stop to count.
    pub k1: f64,
    /// BM25: how much a long text is marked down, 0 to 1.
    pub b: f64,
    pub weights: SearchWeights,
    pub embeddings: EmbeddingSettings,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            text_config: "english".into(),
            k1: 0.9,
            b: 0.35,
            weights: SearchWeights::default(),
            embeddings: EmbeddingSettings::default(),
        }
    }
}

/// What counts how much in a search. A text with the best keyword score has 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchWeights {
    /// How much of the score of a text itself is what it is about, against its words, 0 to 1; nothing without vectors.
    pub vector: f64,
    /// A memory, for the turn that it was drawn from.
    pub memory: f64,
    /// A turn, for those before and after it.
    pub neighbour: f64,
    /// A turn, for the second before and after it.
    pub second_neighbour: f64,
    /// The mean of a session's two best turns, for each of its turns.
    pub session: f64,
    /// A date that the question names, for what was said then.
    pub date: f64,
    /// A person whom the question names, for what that person said.
    pub speaker: f64,
    /// What a user said, against what was answered.
    pub role: f64,
    /// What tells something, against what only asks.
    pub statement: f64,
}

impl Default for SearchWeights {
    fn default() -> Self {
        Self {
            vector: 0.4,
            memory: 0.5,
            neighbour: 0.3,
            second_neighbour: 0.2,
            session: 0.75,
            date: 0.8,
            speaker: 0.12,
            role: 0.1,
            statement: 0.15,
        }
    }
}

/// How much of what is known of a user goes into a prompt.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// Tokens that the memories in one prompt may take.
    pub max_tokens: usize,
    /// Turns that one call of a model learns from, at most.
    pub turns_per_call: u32,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { max_tokens: 1_000, turns_per_call: 20 }
    }
}

/// What an agent learns of its users: the memory manager, in the words of AgentOS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentMemorySettings {
    /// A name from `[models]`; absent, the agent's own model.
    pub model: Option<String>,
    /// What to look for, beside lasting facts and preferences.
    pub instructions: Option<String>,
    /// Only memories with one of these topics are kept; empty, all.
    pub topics: Vec<String>,
    /// Memories with one of these topics are not kept.
    pub excluded_topics: Vec<String>,
    /// After how long what was learned is no longer found; absent: never.
    #[serde(with = "humantime_serde")]
    pub expire_after: Option<Duration>,
}
