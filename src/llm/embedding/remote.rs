//! A client of an OpenAI-compatible `/embeddings` endpoint.
//!
//! *Architecture Invariant:* no error quotes a text or an answer, nor any part of the URL beyond scheme, host and port.

use std::{fmt, time::Duration};

use anyhow::Context;
use reqwest::{Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    config::EmbeddingSettings,
    llm::{ErrorKind, ModelError, retry},
};

const DEFAULT_URL: &str = "https://api.openai.com/v1";
/// Maximum size of an answer; no batch has a larger one.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The client of the service. It does not retry.
pub(super) struct RemoteEmbedder {
    http: reqwest::Client,
    url: Url,
    /// Scheme, host and port only.
    server: String,
    key: Option<SecretString>,
    model: String,
    dimensions: Option<u32>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    /// Some servers omit it and answer in order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl RemoteEmbedder {
    pub(super) fn new(
        settings: &EmbeddingSettings,
        key: Option<SecretString>,
        http: reqwest::Client,
    ) -> anyhow::Result<Self> {
        let base = settings.base_url.as_deref().unwrap_or(DEFAULT_URL);
        let mut url = Url::parse(base).context("search.embeddings.base_url is no URL")?;
        url.set_path(&format!("{}/embeddings", url.path().trim_end_matches('/')));
        let server = url.origin().ascii_serialization();
        Ok(Self { http, url, server, key, model: settings.id.clone(), dimensions: settings.dimensions })
    }

    pub(super) async fn embed(&self, texts: &[&str], limit: Duration) -> Result<Vec<Vec<f32>>, ModelError> {
        match tokio::time::timeout(limit, self.call(texts)).await {
            Ok(vectors) => vectors,
            Err(_) => Err(self.error(ErrorKind::TimedOut, &format!("has not answered within {limit:?}"))),
        }
    }

    async fn call(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let body = Request { model: &self.model, input: texts, encoding_format: "float", dimensions: self.dimensions };
        let mut request = self.http.post(self.url.clone()).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        if !response.status().is_success() {
            return Err(self.status(&response));
        }
        let answer = self.read(response).await?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| self.error(ErrorKind::Unreadable, "sent something that is no list of embeddings"))?;
        let mut embeddings = answer.data;
        embeddings.sort_by_key(|embedding| embedding.index);
        Ok(embeddings.into_iter().map(|embedding| embedding.embedding).collect())
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ModelError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.lost(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(self.error(ErrorKind::Unreadable, "sent an answer that is too large"));
            }
        }
        Ok(body)
    }

    fn status(&self, response: &Response) -> ModelError {
        let status = response.status();
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
            StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
            status if status.is_server_error() => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        };
        let what = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("answered {status}; set the key in the variable that search.embeddings.api_key_env names")
            }
            StatusCode::NOT_FOUND => {
                format!("answered {status}; check search.embeddings.base_url and search.embeddings.id")
            }
            status => format!("answered {status}"),
        };
        let wish = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wish.and_then(|wish| retry::parse_retry_after(wish, clock::now()));
        ModelError { retry_after, ..self.error(kind, &what) }
    }

    /// `reqwest`'s own error contains the URL.
    fn lost(&self, error: &reqwest::Error) -> ModelError {
        let what = if error.is_connect() { "cannot be reached; is it running?" } else { "broke the connection" };
        self.error(ErrorKind::Unavailable, what)
    }

    fn error(&self, kind: ErrorKind, what: &str) -> ModelError {
        let message = format!("The embedding model {} {what}.", self.model);
        let detail = format!("{} at {} {what}", self.model, self.server);
        ModelError { kind, message, detail, retry_after: None }
    }
}

impl fmt::Debug for RemoteEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEmbedder")
            .field("model", &self.model)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
