//! Settings of vectors.

use std::time::Duration;

use anyhow::{bail, ensure};
use serde::Deserialize;

use super::SearchWeights;

/// More texts than this are refused by services.
const MOST_TEXTS: u32 = 2_048;
/// Longer vectors would make a search slow.
const MOST_DIMENSIONS: u32 = 8_192;

/// What turns texts into vectors, so that a search also finds what says the same in other words.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingSettings {
    pub provider: EmbeddingProvider,
    /// The provider's name for the model, for example `text-embedding-3-small`.
    pub id: String,
    /// Another endpoint than the provider's own, for example `http://127.0.0.1:8080/v1`.
    pub base_url: Option<String>,
    /// The environment variable that holds the key; absent, `OPENAI_API_KEY`.
    pub api_key_env: Option<String>,
    /// For models that can make shorter vectors; absent, the model's own length.
    pub dimensions: Option<u32>,
    /// How long a question may take; then its words alone are searched for.
    #[serde(with = "humantime_serde")]
    pub query_timeout: Duration,
    /// Limit for one call in the background.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Texts of one call in the background.
    pub batch_size: u32,
}

impl Default for EmbeddingSettings {
    fn default() -> Self {
        Self {
            provider: EmbeddingProvider::None,
            id: String::new(),
            base_url: None,
            api_key_env: None,
            dimensions: None,
            query_timeout: Duration::from_secs(2),
            timeout: Duration::from_mins(1),
            batch_size: 64,
        }
    }
}

/// Who turns texts into vectors.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum EmbeddingProvider {
    /// Nobody: searches go by words.
    None,
    /// OpenAI, and with `base_url` anything that speaks its embeddings API.
    OpenAi,
}

impl TryFrom<String> for EmbeddingProvider {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "none" => Ok(Self::None),
            "openai" => Ok(Self::OpenAi),
            _ => Err(format!("\"{name}\" is neither none nor openai")),
        }
    }
}

impl EmbeddingSettings {
    pub(super) fn check(&self, weights: &SearchWeights) -> anyhow::Result<()> {
        ensure!((0.0..=1.0).contains(&weights.vector), "search.weights.vector is {}; it is 0 to 1", weights.vector);
        ensure!(
            !self.query_timeout.is_zero() && !self.timeout.is_zero(),
            "search.embeddings.query_timeout or search.embeddings.timeout is zero; give a duration such as \"2s\""
        );
        ensure!(
            (1..=MOST_TEXTS).contains(&self.batch_size),
            "search.embeddings.batch_size is {}; use 1 to {MOST_TEXTS}",
            self.batch_size
        );
        if let Some(dimensions) = self.dimensions {
            ensure!(
                (1..=MOST_DIMENSIONS).contains(&dimensions),
                "search.embeddings.dimensions is {dimensions}; use 1 to {MOST_DIMENSIONS}, or leave it out for the \
                 model's own"
            );
        }
        match self.provider {
            EmbeddingProvider::None => self.check_unused(),
            EmbeddingProvider::OpenAi => self.check_service(),
        }
    }

    fn check_service(&self) -> anyhow::Result<()> {
        ensure!(
            !self.id.trim().is_empty(),
            "search.embeddings.id is empty; give the provider's name of the model, for example \"text-embedding-3-small\""
        );
        if let Some(url) = &self.base_url {
            let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            ensure!(is_http, "search.embeddings.base_url is no http(s) URL; give one such as http://127.0.0.1:8080/v1");
        }
        Ok(())
    }

    /// What is set would be without effect.
    fn check_unused(&self) -> anyhow::Result<()> {
        let set = [
            ("id", !self.id.is_empty()),
            ("base_url", self.base_url.is_some()),
            ("api_key_env", self.api_key_env.is_some()),
            ("dimensions", self.dimensions.is_some()),
        ];
        match set.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => bail!(
                "search.embeddings.{key} is set, and search.embeddings.provider is \"none\", which does not use it; set \
                 search.embeddings.provider to \"openai\", or remove the key"
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: EmbeddingSettings) -> String {
        settings.check(&SearchWeights::default()).expect_err("the settings should be refused").to_string()
    }

    fn service() -> EmbeddingSettings {
        EmbeddingSettings { provider: EmbeddingProvider::OpenAi, id: "small".into(), ..EmbeddingSettings::default() }
    }

    #[test]
    fn what_is_set_must_have_an_effect() {
        let none = EmbeddingSettings { id: "small".into(), ..EmbeddingSettings::default() };
        assert!(refusal(none).contains("search.embeddings.id is set"));
        assert!(service().check(&SearchWeights::default()).is_ok());
    }

    #[test]
    fn a_service_has_a_model_and_a_url() {
        assert!(refusal(EmbeddingSettings { id: " ".into(), ..service() }).contains("search.embeddings.id is empty"));
        let url = EmbeddingSettings { base_url: Some("user:hunter2@host".into()), ..service() };
        let message = refusal(url);
        assert!(message.contains("search.embeddings.base_url") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn limits_have_limits() {
        for (settings, key) in [
            (EmbeddingSettings { dimensions: Some(0), ..service() }, "dimensions"),
            (EmbeddingSettings { batch_size: 0, ..service() }, "batch_size"),
            (EmbeddingSettings { query_timeout: Duration::ZERO, ..service() }, "query_timeout"),
        ] {
            assert!(refusal(settings).contains(key), "{key}");
        }
        let weights = SearchWeights { vector: 1.5, ..SearchWeights::default() };
        assert!(service().check(&weights).unwrap_err().to_string().contains("search.weights.vector"));
    }
}
