//! The models that agents call by name.

use std::time::Duration;

use serde::Deserialize;

/// Which API a model is called with.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Provider {
    /// OpenAI or, with `base_url`, any service with the same chat completions API.
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
    /// The built-in rule-based responder: no network, no key.
    Offline,
}

impl TryFrom<String> for Provider {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            "gemini" => Ok(Self::Gemini),
            "ollama" => Ok(Self::Ollama),
            "offline" => Ok(Self::Offline),
            _ => Err(format!("\"{name}\" is none of openai, anthropic, gemini, ollama and offline")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    pub provider: Provider,
    /// The provider's name for the model, for example `gpt-4o-mini`. The offline responder needs none.
    #[serde(default)]
    pub id: String,
    /// An endpoint in place of the provider's own, for example `http://127.0.0.1:9099/v1`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The environment variable that holds the API key. Default: the provider's usual one.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Limit for one call: the whole answer or, in a stream, each wait for the next event.
    #[serde(default = "ModelSettings::default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Maximum number of retries after 408, 429, 5xx or a failed connection.
    #[serde(default = "ModelSettings::default_max_retries")]
    pub max_retries: u32,
    /// Names of other models, tried in order when this one fails.
    #[serde(default)]
    pub fallbacks: Vec<String>,
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Limit for one answer, in tokens.
    #[serde(default)]
    pub max_tokens: Option<u32>,
}

impl ModelSettings {
    fn default_timeout() -> Duration {
        Duration::from_mins(2)
    }

    fn default_max_retries() -> u32 {
        2
    }

    /// A model of `provider` with the default limits.
    pub fn new(provider: Provider, id: impl Into<String>) -> Self {
        Self {
            provider,
            id: id.into(),
            base_url: None,
            api_key_env: None,
            timeout: Self::default_timeout(),
            max_retries: Self::default_max_retries(),
            fallbacks: Vec::new(),
            temperature: None,
            max_tokens: None,
        }
    }
}
