//! How much of a conversation goes into a prompt, and how the rest of it is summarized.

use serde::Deserialize;

/// Limits of the verbatim history in a prompt. All but `max_runs` are in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// High-water mark, with summaries: if the runs after the summary exceed it, the oldest are folded into it.
    pub high_tokens: u32,
    /// Low-water mark, with summaries: a fold leaves at most this much verbatim.
    pub low_tokens: u32,
    /// With summaries: if more runs than this follow the summary, however short they are, a fold leaves only half this
    /// number verbatim.
    pub max_runs: u32,
    /// Hard limit of the verbatim history, even if folds fail: the oldest runs are left out.
    pub max_tokens: u32,
    /// Longer messages are shortened in the prompt. The stored message stays complete.
    pub max_message_tokens: u32,
}

impl Default for HistorySettings {
    /// With a summary, these leave half of the smallest common context window (8,000 tokens) for instructions, message
    /// and answer. From 80 tokens per turn, `high_tokens` is reached before `max_runs`.
    fn default() -> Self {
        Self { high_tokens: 3_200, low_tokens: 1_400, max_runs: 40, max_tokens: 6_000, max_message_tokens: 32_000 }
    }
}

impl HistorySettings {
    /// Whether this many tokens or runs after the summary require a fold.
    pub fn is_exceeded_by(&self, tokens: i64, runs: i64) -> bool {
        tokens > i64::from(self.high_tokens) || runs > i64::from(self.max_runs)
    }

    /// How many runs stay verbatim after a fold because of `max_runs`.
    pub fn low_runs(&self) -> u32 {
        self.max_runs / 2
    }
}

/// An agent's overrides of `[history]`.
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
    /// A name from `[models]`. Default: the agent's own model.
    pub model: Option<String>,
    /// What the summary should contain, in place of the built-in instructions. The format of input and answer is
    /// described to the model in any case.
    pub prompt: Option<String>,
    /// Maximum length of a summary, in tokens.
    pub max_tokens: u32,
}

impl Default for SummarySettings {
    fn default() -> Self {
        Self { model: None, prompt: None, max_tokens: 500 }
    }
}
