//! A local embedding model: an ONNX file, executed by the ONNX runtime, a library that is loaded at start.
//!
//! `tokens` turns texts into batches of token ids, `model` computes, `pooling` turns the output into one vector per
//! text.
//!
//! *Architecture Invariant:* only `model` uses the runtime, only `tokens` the tokenizer. No error of a call quotes a
//! text.

mod model;
mod pooling;
mod tokens;

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::sync::Mutex;

use self::{
    model::Model,
    tokens::{Batch, Tokens},
};
use crate::{
    config::EmbeddingSettings,
    llm::{ErrorKind, ModelError},
};

/// The model; it computes one batch at a time.
pub(super) struct OnnxEmbedder {
    name: String,
    tokens: Arc<Tokens>,
    /// The mutex is fair (FIFO), so a question waits for at most one background batch.
    model: Arc<Mutex<Model>>,
}

impl OnnxEmbedder {
    /// Loads the runtime and the model, which takes a moment, and tests it with a text of maximum length.
    pub(super) fn load(settings: &EmbeddingSettings) -> anyhow::Result<Self> {
        let folder = settings.path.as_deref().context("search.embeddings.path is missing")?;
        let tokens = Tokens::load(folder, settings.max_tokens)?;
        let mut model = Model::load(folder, settings)?;
        model.compute(&tokens.longest()?).with_context(|| {
            format!(
                "the model in {} cannot be computed with texts of {} tokens; if it takes fewer, set \
                 search.embeddings.max_tokens, otherwise see the reason",
                folder.display(),
                settings.max_tokens
            )
        })?;
        Ok(Self { name: settings.model(), tokens: Arc::new(tokens), model: Arc::new(Mutex::new(model)) })
    }

    pub(super) async fn embed(&self, texts: &[&str], limit: Duration) -> Result<Vec<Vec<f32>>, ModelError> {
        match tokio::time::timeout(limit, self.call(texts)).await {
            Ok(vectors) => vectors,
            Err(_) => Err(self.error(ErrorKind::TimedOut, &format!("is not ready after {limit:?}"))),
        }
    }

    async fn call(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let (tokens, owned) = (self.tokens.clone(), texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let rows = self.aside(move || owned.iter().map(|text| tokens.of(text)).collect::<Result<Vec<_>, _>>()).await?;
        let rows = rows.map_err(|_| self.error(ErrorKind::Refused, "cannot tell the tokens of a text"))?;
        let mut vectors = vec![Vec::new(); rows.len()];
        for batch in Batch::divide(rows) {
            let mut model = self.model.clone().lock_owned().await;
            let (computed, batch) = self.aside(move || (model.compute(&batch), batch)).await?;
            // The runtime's own message may contain tokens.
            let computed =
                computed.map_err(|_| self.error(ErrorKind::Refused, "cannot compute the vector of a text"))?;
            for (place, vector) in batch.places().zip(computed) {
                vectors[place] = vector;
            }
        }
        Ok(vectors)
    }

    /// Runs blocking work off the async threads.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ModelError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| self.error(ErrorKind::Unavailable, "has broken off"))
    }

    fn error(&self, kind: ErrorKind, what: &str) -> ModelError {
        let message = format!("The embedding model {} {what}.", self.name);
        ModelError { kind, detail: message.clone(), message, retry_after: None }
    }
}

impl fmt::Debug for OnnxEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxEmbedder").field("name", &self.name).finish_non_exhaustive()
    }
}
