//! [`Models`]: all configured models by name, with timeouts, retries and fallbacks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;

use super::{ErrorKind, ModelError, ModelReply, ModelRequest, credentials, offline, provider::RemoteModel, retry};
use crate::{
    config::{ModelSettings, Provider},
    http_client,
    model::ModelInfo,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP client for all models: pooled connections and a connect timeout. Each model has its own timeout for
/// answers.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    http_client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .context("The HTTP client for the models could not be built")
}

/// All configured models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Models {
    by_name: Arc<BTreeMap<String, Model>>,
}

#[derive(Debug)]
struct Model {
    info: ModelInfo,
    backend: Backend,
    max_retries: u32,
    fallbacks: Vec<String>,
}

#[derive(Debug)]
enum Backend {
    Offline,
    Remote(Box<RemoteModel>),
}

impl Models {
    /// Prepares all configured models: reads their keys and checks each `base_url`. No model is called yet.
    pub fn new(settings: &BTreeMap<String, ModelSettings>, http: &reqwest::Client) -> anyhow::Result<Self> {
        Self::with_keys(settings, http, credentials::from_environment)
    }

    /// As [`Models::new`], but `lookup` returns the key for the name of an environment variable.
    pub fn with_keys(
        settings: &BTreeMap<String, ModelSettings>,
        http: &reqwest::Client,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let by_name = settings
            .iter()
            .map(|(name, settings)| Ok((name.clone(), Model::new(name, settings, http, &lookup)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { by_name: Arc::new(by_name) })
    }

    /// The model with this name in the settings; `None` if it is not configured.
    pub fn info(&self, name: &str) -> Option<&ModelInfo> {
        self.by_name.get(name).map(|model| &model.info)
    }

    /// All models, ordered by name.
    pub fn list(&self) -> impl Iterator<Item = (&str, &ModelInfo)> {
        self.by_name.iter().map(|(name, model)| (name.as_str(), &model.info))
    }

    /// Calls the model and waits for the complete answer.
    pub async fn complete(&self, name: &str, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        self.call(name, request, &mut Delivery::Whole).await
    }

    /// Calls the model and passes on each piece of content as it comes; the reply contains all of it again.
    ///
    /// After the first piece an error is final: a repeated call would send the content twice.
    pub async fn stream(
        &self,
        name: &str,
        request: &ModelRequest,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ModelReply, ModelError> {
        self.call(name, request, &mut Delivery::Pieces { on_delta, begun: false }).await
    }

    /// Tries the model, then its fallbacks in order. The fallbacks of a fallback are not used.
    async fn call(
        &self,
        name: &str,
        request: &ModelRequest,
        delivery: &mut Delivery<'_>,
    ) -> Result<ModelReply, ModelError> {
        let first = self.get(name)?;
        let mut error = match first.call_with_retries(request, delivery).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        for fallback in &first.fallbacks {
            if delivery.has_begun() {
                break;
            }
            let (kind, detail) = (error.kind, &error.detail);
            tracing::warn!(model.name = name, fallback, error.kind = ?kind, detail, "A model failed: trying its fallback.");
            match Box::pin(self.get(fallback)?.call_with_retries(request, delivery)).await {
                Ok(reply) => return Ok(reply),
                Err(next) => {
                    error.message = format!("{} The fallback {fallback} failed too.", error.message);
                    error.detail = format!("{}; {}", error.detail, next.detail);
                }
            }
        }
        Err(error)
    }

    fn get(&self, name: &str) -> Result<&Model, ModelError> {
        self.by_name.get(name).ok_or_else(|| {
            let detail = format!("there is no model named {name}: add [models.{name}] to the settings");
            ModelError::new(ErrorKind::Refused, name, detail)
        })
    }
}

impl Model {
    fn new(
        name: &str,
        settings: &ModelSettings,
        http: &reqwest::Client,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let (info, backend) = if settings.provider == Provider::Offline {
            (offline::info(), Backend::Offline)
        } else {
            let key = credentials::find_key(&format!("models.{name}"), settings, lookup)?;
            let remote = RemoteModel::new(name, settings, key, http.clone())?;
            (remote.info().clone(), Backend::Remote(Box::new(remote)))
        };
        Ok(Self { info, backend, max_retries: settings.max_retries, fallbacks: settings.fallbacks.clone() })
    }

    async fn call_with_retries(
        &self,
        request: &ModelRequest,
        delivery: &mut Delivery<'_>,
    ) -> Result<ModelReply, ModelError> {
        let mut pauses = retry::pauses(self.max_retries);
        loop {
            let error = match self.call_once(request, delivery).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if delivery.has_begun() || !retry::is_worth_repeating(error.kind) {
                return Err(error);
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            let pause = retry::pause(pause, error.retry_after);
            tracing::debug!(model.id = self.info.id, error.kind = ?error.kind, ?pause, "A model failed: calling again.");
            tokio::time::sleep(pause).await;
        }
    }

    async fn call_once(&self, request: &ModelRequest, delivery: &mut Delivery<'_>) -> Result<ModelReply, ModelError> {
        match (&self.backend, delivery) {
            (Backend::Offline, Delivery::Whole) => Ok(offline::complete(request)),
            (Backend::Offline, delivery) => Ok(offline::stream(request, &mut |piece| delivery.hand_out(piece))),
            (Backend::Remote(remote), Delivery::Whole) => remote.complete(request).await,
            (Backend::Remote(remote), delivery) => {
                Box::pin(remote.stream(request, &mut |piece| delivery.hand_out(piece))).await
            }
        }
    }
}

/// How the answer is delivered, and whether the caller has received a part of it.
enum Delivery<'a> {
    Whole,
    Pieces { on_delta: &'a mut (dyn FnMut(&str) + Send), begun: bool },
}

impl Delivery<'_> {
    fn has_begun(&self) -> bool {
        matches!(self, Self::Pieces { begun: true, .. })
    }

    fn hand_out(&mut self, piece: &str) {
        if let Self::Pieces { on_delta, begun } = self {
            *begun = true;
            on_delta(piece);
        }
    }
}
