//! Embedding models: texts in, vectors out.
//!
//! Vectors are comparable only within the same model and length, so [`Embedder::name_for`] contains both.

#[cfg(feature = "onnx")]
mod onnx;
mod remote;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

#[cfg(feature = "onnx")]
use self::onnx::OnnxEmbedder;
use self::remote::RemoteEmbedder;
use super::{ErrorKind, ModelError, credentials};
use crate::config::{EmbeddingProvider, EmbeddingSettings, ModelSettings, Provider};

/// Only this many characters of a text are embedded: the limit of services, with a margin for scripts with many tokens.
const MAX_CHARS: usize = 6_000;
/// How long questions are not embedded after one has failed or timed out: searches must not wait for a service that is
/// down.
const PAUSE: Duration = Duration::from_secs(10);

/// The model that turns texts into vectors.
#[derive(Debug)]
pub struct Embedder {
    /// The model's name, without the length of its vectors.
    model: String,
    backend: Backend,
    batch_size: usize,
    timeout: Duration,
    query_timeout: Duration,
    paused_until: Mutex<Option<Instant>>,
    /// The length of the last vectors; 0 before the first.
    dimensions: AtomicUsize,
}

/// Where the model runs.
#[derive(Debug)]
enum Backend {
    Remote(RemoteEmbedder),
    #[cfg(feature = "onnx")]
    Onnx(OnnxEmbedder),
}

impl Backend {
    fn new(settings: &EmbeddingSettings, http: &reqwest::Client) -> anyhow::Result<Option<Self>> {
        match settings.provider {
            EmbeddingProvider::None => Ok(None),
            EmbeddingProvider::OpenAi => {
                let as_model = ModelSettings {
                    base_url: settings.base_url.clone(),
                    api_key_env: settings.api_key_env.clone(),
                    ..ModelSettings::new(Provider::OpenAi, &settings.id)
                };
                let key = credentials::find_key("search.embeddings", &as_model, credentials::from_environment)?;
                Ok(Some(Self::Remote(RemoteEmbedder::new(settings, key, http.clone())?)))
            }
            #[cfg(feature = "onnx")]
            EmbeddingProvider::Onnx => Ok(Some(Self::Onnx(OnnxEmbedder::load(settings)?))),
            #[cfg(not(feature = "onnx"))]
            EmbeddingProvider::Onnx => anyhow::bail!(crate::config::NO_ONNX),
        }
    }

    async fn embed(&self, texts: &[&str], limit: Duration) -> Result<Vec<Vec<f32>>, ModelError> {
        match self {
            Self::Remote(service) => service.embed(texts, limit).await,
            #[cfg(feature = "onnx")]
            Self::Onnx(model) => model.embed(texts, limit).await,
        }
    }
}

impl Embedder {
    /// Prepares the configured model: a local one is loaded, a service is not called yet. `None` if none is configured.
    pub fn new(settings: &EmbeddingSettings, http: &reqwest::Client) -> anyhow::Result<Option<Self>> {
        let Some(backend) = Backend::new(settings, http)? else { return Ok(None) };
        Ok(Some(Self {
            model: settings.model(),
            backend,
            batch_size: settings.batch_size as usize,
            timeout: settings.timeout,
            query_timeout: settings.query_timeout,
            paused_until: Mutex::default(),
            dimensions: AtomicUsize::new(0),
        }))
    }

    /// The name under which vectors of this length are stored.
    pub fn name_for(&self, dimensions: usize) -> String {
        format!("{}/{dimensions}", self.model)
    }

    /// The name for vectors of the last length, which the next ones most likely have too. `None` before the first.
    pub fn likely_name(&self) -> Option<String> {
        let dimensions = self.dimensions.load(Ordering::Relaxed);
        (dimensions > 0).then(|| self.name_for(dimensions))
    }

    /// The recommended number of texts per call of [`Embedder::embed`].
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The vectors of some texts, in their order, all of one length. Without retries: the background job has its own.
    pub async fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.call(texts, self.timeout).await
    }

    /// The vector of a question, within the timeout for queries. `None` if it fails, which is logged, or while paused.
    pub async fn embed_question(&self, question: &str) -> Option<Vec<f32>> {
        if self.is_paused() {
            return None;
        }
        match self.call(&[question], self.query_timeout).await {
            Ok(vectors) => vectors.into_iter().next(),
            Err(error) => {
                let detail = &error.detail;
                tracing::warn!(model = self.model, detail, "A question has no vector: searching by its words alone.");
                // A refusal concerns this question only, not the service.
                if error.kind.is_transient() {
                    *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
                }
                None
            }
        }
    }

    /// Whether questions are currently not embedded, after a failure.
    pub fn is_paused(&self) -> bool {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    async fn call(&self, texts: &[&str], limit: Duration) -> Result<Vec<Vec<f32>>, ModelError> {
        let texts: Vec<&str> = texts.iter().map(|text| beginning(text)).collect();
        let vectors = self.backend.embed(&texts, limit).await?;
        check(&vectors, texts.len())?;
        self.dimensions.store(vectors.first().map_or(0, Vec::len), Ordering::Relaxed);
        Ok(vectors)
    }
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(MAX_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Validates the vectors: one for each text, all of the same length, with finite numbers, and none of them the zero
/// vector.
fn check(vectors: &[Vec<f32>], texts: usize) -> Result<(), ModelError> {
    let length = vectors.first().map_or(0, Vec::len);
    let points = |vector: &Vec<f32>| {
        vector.len() == length && vector.iter().all(|x| x.is_finite()) && vector.iter().any(|x| *x != 0.0)
    };
    if vectors.len() == texts && vectors.iter().all(points) {
        return Ok(());
    }
    let message = format!(
        "The embedding model's answer to {texts} texts has {} vectors, or some of these are of different lengths, or no \
         directions. Does search.embeddings name an embedding model?",
        vectors.len()
    );
    Err(ModelError { kind: ErrorKind::Unreadable, detail: message.clone(), message, retry_after: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_cannot_be_compared_are_refused() {
        assert!(check(&[vec![1.0, 0.0], vec![0.5, 0.5]], 2).is_ok());
        for bad in [
            vec![vec![1.0]],
            vec![vec![1.0], vec![1.0, 0.0]],
            vec![vec![1.0], vec![0.0]],
            vec![vec![1.0], vec![f32::NAN]],
        ] {
            assert!(check(&bad, 2).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_long_text_stands_for_it() {
        assert_eq!(beginning("ü"), "ü");
        assert_eq!(beginning(&"ü".repeat(MAX_CHARS + 1)).chars().count(), MAX_CHARS);
    }
}
