//! Models and their usage.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The model that answers, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelInfo {
    /// The provider's name for the model, for example `gpt-4o-mini`.
    pub id: String,
    /// `OpenAI`, `Anthropic`, `Google`, `Ollama` or `offline`.
    pub provider: String,
}

/// Tokens of one call or the sum of several, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub total_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_tokens: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.total_tokens += other.total_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
    }
}

/// Token usage and timing of one answer of a model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(from = "FlatMetrics")]
pub struct MessageMetrics {
    #[serde(flatten)]
    pub usage: Usage,
    /// Duration in seconds.
    pub duration: f64,
    /// Seconds from the request to the first piece of the answer.
    pub time_to_first_token: f64,
}

/// How [`MessageMetrics`] are read. `flatten` would copy every field first, for each message of a prompt.
#[derive(Deserialize)]
struct FlatMetrics {
    #[serde(default)]
    input_tokens: i64,
    #[serde(default)]
    output_tokens: i64,
    #[serde(default)]
    total_tokens: i64,
    #[serde(default)]
    reasoning_tokens: i64,
    #[serde(default)]
    cache_read_tokens: i64,
    #[serde(default)]
    cache_write_tokens: i64,
    duration: f64,
    time_to_first_token: f64,
}

impl From<FlatMetrics> for MessageMetrics {
    fn from(flat: FlatMetrics) -> Self {
        let usage = Usage {
            input_tokens: flat.input_tokens,
            output_tokens: flat.output_tokens,
            total_tokens: flat.total_tokens,
            reasoning_tokens: flat.reasoning_tokens,
            cache_read_tokens: flat.cache_read_tokens,
            cache_write_tokens: flat.cache_write_tokens,
        };
        Self { usage, duration: flat.duration, time_to_first_token: flat.time_to_first_token }
    }
}

/// Usage of a run: tokens in total and by model; times in seconds.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunMetrics {
    #[serde(flatten)]
    pub usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    #[serde(skip_serializing_if = "UsageDetails::is_empty")]
    pub details: UsageDetails,
}

impl RunMetrics {
    /// The totals over all purposes and models.
    pub fn of(details: UsageDetails) -> Self {
        let mut usage = Usage::default();
        for part in [&details.model, &details.session_summary_model, &details.memory_model].into_iter().flatten() {
            usage += part.usage;
        }
        Self { usage, details, ..Self::default() }
    }
}

/// Tokens by purpose and model.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UsageDetails {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<ModelUsage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub session_summary_model: Vec<ModelUsage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_model: Vec<ModelUsage>,
}

impl UsageDetails {
    pub fn is_empty(&self) -> bool {
        self.model.is_empty() && self.session_summary_model.is_empty() && self.memory_model.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelUsage {
    #[serde(flatten)]
    pub model: ModelInfo,
    #[serde(flatten)]
    pub usage: Usage,
}
