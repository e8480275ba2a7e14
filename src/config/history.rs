//! How much of a conversation goes into a prompt, and how the rest of it is summarized.

use serde::Deserialize;

/// Limits of the verbatim part of a prompt, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// With summaries: when the runs after the summary take more than this, the oldest are folded into it.
    pub high_tokens: u32,
    /// With summaries: a fold leaves this much, or less, word for word.
    pub low_tokens: u32,
    /// With summaries: when more runs than this come after the summary, however short they are, all but half as many are
    /// folded into it.
    pub max_runs: u32,
    /// The verbatim part never takes more, whatever happens to the folds: the oldest runs are left out.
    pub max_tokens: u32,
    /// A longer message is shortened in the prompt; stored it stays whole.
    pub max_message_tokens: u32,
}

impl Default for HistorySettings {
    /// With a summary these leave half of the smallest usual context, 8,000 tokens, to instructions, message and answer.
    /// Of turns with 80 tokens and more the tokens decide.
    fn default() -> Self {
        Self { high_tokens: 3_200, low_tokens: 1_400, max_runs: 40, max_tokens: 6_000, max_message_tokens: 32_000 }
    }
}

impl HistorySettings {
    /// Whether so much after the summary is to be folded into it.
    pub fn is_exceeded_by(&self, tokens: i64, runs: i64) -> bool {
        tokens > i64::from(self.high_tokens) || runs > i64::from(self.max_runs)
    }

    /// How many runs a fold leaves word for word that was made because there were too many.
    pub fn low_runs(&self) -> u32 {
        self.max_runs / 2
    }
}

/// What an agent has instead of `[history]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryOverrides {
    pub high_tokens: Option<u32>,
    pub low_tokens: Option<u32>,
    pub max_runs: Option<u32>,
    pub max_tokens: Option<u32>,
    pub max_message_tokens: Option<u32>,
}

impl HistoryOverrides {
    pub fn over(&self, general: HistorySettings) -> HistorySettings {
        HistorySettings {
            high_tokens: self.high_tokens.unwrap_or(general.high_tokens),
            low_tokens: self.low_tokens.unwrap_or(general.low_tokens),
            max_runs: self.max_runs.unwrap_or(general.max_runs),
            max_tokens: self.max_tokens.unwrap_or(general.max_tokens),
            max_message_tokens: self.max_message_tokens.unwrap_or(general.max_message_tokens),
        }
    }
}

/// An agent's session summary manager.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SummarySettings {
    /// A name from `[models]`; absent, the agent's own model.
    pub model: Option<String>,
    /// What the summary should hold, instead of the built-in wording. What the model reads and how it has to answer is
    /// said either way.
    pub prompt: Option<String>,
    /// The longest summary, in tokens.
    pub max_tokens: u32,
}

impl Default for SummarySettings {
    fn default() -> Self {
        Self { model: None, prompt: None, max_tokens: 500 }
    }
}
