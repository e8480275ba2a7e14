//! Settings of embeddings.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{bail, ensure};
use serde::Deserialize;

use super::SearchWeights;

/// Embedding services refuse larger batches.
const MOST_TEXTS: u32 = 2_048;
/// Longer vectors would make a search slow.
const MOST_DIMENSIONS: u32 = 8_192;
/// Fewer tokens are hardly a sentence; more take too long for a search.
const TOKENS: std::ops::RangeInclusive<u32> = 16..=8_192;

/// The error for `onnx` in a build without that feature.
pub const NO_ONNX: &str = "search.embeddings.provider is \"onnx\", which this build does not have; build with `cargo build \
                           --release --features onnx`, or use \"openai\" with the base_url of a server on this machine";

/// The embedding model. With vectors, a search also finds texts that say the same in other words.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingSettings {
    pub provider: EmbeddingProvider,
    /// The provider's name for the model, for example `text-embedding-3-small`. With `onnx` any name; if empty, the
    /// name of the folder. Only vectors of the same name are compared.
    pub id: String,
    /// An endpoint in place of the provider's own, for example `http://127.0.0.1:8080/v1`.
    pub base_url: Option<String>,
    /// The environment variable that holds the API key. Default: `OPENAI_API_KEY`.
    pub api_key_env: Option<String>,
    /// The length of the vectors, for models that support shorter ones. Default: the model's own length.
    pub dimensions: Option<u32>,
    /// The folder of an ONNX model: `model.onnx` or `onnx/model.onnx`, and `tokenizer.json`.
    pub path: Option<PathBuf>,
    /// The path of the ONNX Runtime library. Default: `ORT_DYLIB_PATH`, otherwise the library that the system finds.
    pub runtime: Option<PathBuf>,
    /// How much of a text an ONNX model reads, in tokens.
    pub max_tokens: u32,
    /// How an ONNX model's token vectors are combined into one text vector.
    pub pooling: Pooling,
    /// Limit for the embedding of a search query. After that, the search uses keywords only.
    #[serde(with = "humantime_serde")]
    pub query_timeout: Duration,
    /// Limit for one embedding call in the background.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Texts per embedding call in the background.
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
            path: None,
            runtime: None,
            max_tokens: 256,
            pooling: Pooling::Mean,
            query_timeout: Duration::from_secs(2),
            timeout: Duration::from_mins(1),
            batch_size: 64,
        }
    }
}

/// The provider of embeddings.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum EmbeddingProvider {
    /// No embeddings: searches use keywords only.
    None,
    /// OpenAI or, with `base_url`, any service with the same embeddings API.
    OpenAi,
    /// A model in this process. Needs a build with the feature `onnx`.
    Onnx,
}

/// How token vectors are combined into one vector.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Pooling {
    /// The mean of all token vectors.
    #[default]
    Mean,
    /// The vector of the first token.
    Cls,
}

impl TryFrom<String> for EmbeddingProvider {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "none" => Ok(Self::None),
            "openai" => Ok(Self::OpenAi),
            "onnx" => Ok(Self::Onnx),
            _ => Err(format!("\"{name}\" is none of none, openai and onnx")),
        }
    }
}

impl TryFrom<String> for Pooling {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            _ => Err(format!("\"{name}\" is neither mean nor cls")),
        }
    }
}

impl EmbeddingProvider {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OpenAi => "openai",
            Self::Onnx => "onnx",
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
        ensure!(
            TOKENS.contains(&self.max_tokens),
            "search.embeddings.max_tokens is {}; use {} to {}",
            self.max_tokens,
            TOKENS.start(),
            TOKENS.end()
        );
        self.check_unused()?;
        match self.provider {
            EmbeddingProvider::None => Ok(()),
            EmbeddingProvider::OpenAi => self.check_service(),
            EmbeddingProvider::Onnx => self.check_onnx(),
        }
    }

    /// The name of the model. Only vectors of the same name are compared.
    pub fn model(&self) -> String {
        let folder = self.path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let name = if self.id.is_empty() { folder.unwrap_or_default() } else { self.id.clone() };
        match self.pooling {
            Pooling::Mean => name,
            Pooling::Cls => format!("{name}:cls"),
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

    fn check_onnx(&self) -> anyhow::Result<()> {
        ensure!(cfg!(feature = "onnx"), NO_ONNX);
        ensure!(
            self.path.as_ref().is_some_and(|path| !path.as_os_str().is_empty()),
            "search.embeddings.path is missing; give the folder that has model.onnx or onnx/model.onnx, and tokenizer.json"
        );
        Ok(())
    }

    /// Refuses keys that the chosen provider does not use.
    fn check_unused(&self) -> anyhow::Result<()> {
        use EmbeddingProvider::{Onnx, OpenAi};
        let set: [(&str, bool, &[EmbeddingProvider]); 7] = [
            ("id", !self.id.is_empty(), &[OpenAi, Onnx]),
            ("base_url", self.base_url.is_some(), &[OpenAi]),
            ("api_key_env", self.api_key_env.is_some(), &[OpenAi]),
            ("dimensions", self.dimensions.is_some(), &[OpenAi]),
            ("path", self.path.is_some(), &[Onnx]),
            ("runtime", self.runtime.is_some(), &[Onnx]),
            ("pooling", self.pooling != Pooling::Mean, &[Onnx]),
        ];
        match set.iter().find(|(_, is_set, users)| *is_set && !users.contains(&self.provider)) {
            Some((key, _, users)) => bail!(
                "search.embeddings.{key} is set, and search.embeddings.provider is \"{}\", which does not use it; set \
                 search.embeddings.provider to {}, or remove the key",
                self.provider.name(),
                users.iter().map(|user| format!("\"{}\"", user.name())).collect::<Vec<_>>().join(" or ")
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
        let folder = EmbeddingSettings { path: Some("model".into()), ..service() };
        assert!(refusal(folder).contains("provider to \"onnx\""));
    }

    #[test]
    fn a_model_in_this_process_is_named_by_its_folder_unless_it_has_a_name() {
        let named = |id: &str, pooling| {
            EmbeddingSettings {
                id: id.into(),
                path: Some("models/small/".into()),
                pooling,
                ..EmbeddingSettings::default()
            }
            .model()
        };
        assert_eq!(named("", Pooling::Mean), "small");
        assert_eq!(named("mine", Pooling::Mean), "mine");
        assert_eq!(named("mine", Pooling::Cls), "mine:cls");
    }

    #[test]
    fn a_model_in_this_process_needs_a_build_that_has_it_and_a_folder() {
        let onnx = EmbeddingSettings { provider: EmbeddingProvider::Onnx, ..EmbeddingSettings::default() };
        let expected = if cfg!(feature = "onnx") { "search.embeddings.path is missing" } else { "--features onnx" };
        assert!(refusal(onnx).contains(expected));
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
            (EmbeddingSettings { max_tokens: 8, ..service() }, "max_tokens"),
            (EmbeddingSettings { query_timeout: Duration::ZERO, ..service() }, "query_timeout"),
        ] {
            assert!(refusal(settings).contains(key), "{key}");
        }
        let weights = SearchWeights { vector: 1.5, ..SearchWeights::default() };
        assert!(service().check(&weights).unwrap_err().to_string().contains("search.weights.vector"));
    }
}
