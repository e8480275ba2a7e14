//! Settings of search and memories.

use std::time::Duration;

use serde::Deserialize;

use super::EmbeddingSettings;

/// Search in messages and memories.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSettings {
    /// PostgreSQL's text search configuration, which determines the words of a text. `english` also matches other forms
    /// of an English word, and keeps words of other languages nearly unchanged; `simple` is independent of the
    /// language.
    pub text_config: String,
    /// BM25, at least 0: term frequency saturation. The lower it is, the sooner further occurrences of a word stop
    /// counting.
    pub k1: f64,
    /// BM25, 0 to 1: how much long texts are penalized.
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

/// Weights of the parts of a search score. The best keyword score is 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchWeights {
    /// Share of vector similarity in the score of a text itself, 0 to 1; the rest is its keywords. 0 without vectors.
    pub vector: f64,
    /// The score of a memory, for the turn that it was drawn from.
    pub memory: f64,
    /// The score of a turn, for the turns directly before and after it.
    pub neighbour: f64,
    /// The score of a turn, for the second turns before and after it.
    pub second_neighbour: f64,
    /// The mean score of a session's two best turns, for each of its turns.
    pub session: f64,
    /// For texts from a date that the query names.
    pub date: f64,
    /// For turns of a speaker whom the query names.
    pub speaker: f64,
    /// For what a user said, as opposed to an answer.
    pub role: f64,
    /// For texts that state something, as opposed to those that only ask.
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

/// Limits of memories in prompts and in learning.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// Maximum tokens of all memories in one prompt.
    pub max_tokens: usize,
    /// Maximum number of turns that one model call learns from.
    pub turns_per_call: u32,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { max_tokens: 1_000, turns_per_call: 20 }
    }
}

/// What an agent learns about its users. AgentOS calls this the memory manager.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentMemorySettings {
    /// A name from `[models]`. Default: the agent's own model.
    pub model: Option<String>,
    /// What to look for, in addition to lasting facts and preferences.
    pub instructions: Option<String>,
    /// Only memories with one of these topics are kept. If empty, all are.
    pub topics: Vec<String>,
    /// Memories with one of these topics are not kept.
    pub excluded_topics: Vec<String>,
    /// How long after learning a memory expires: it is then no longer found. Default: never.
    #[serde(with = "humantime_serde")]
    pub expire_after: Option<Duration>,
}
