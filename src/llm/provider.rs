//! One model of one provider, called once.
//!
//! `dialect.rs` and the files of the four APIs write requests and parse answers, `wire.rs` reads responses within
//! limits, `answer.rs` assembles the answer, and `failure.rs` explains errors. Nothing is retried here.
//!
//! *Architecture Invariant:* whatever a provider sends, a call reads a bounded number of bytes, and the caller can
//! cancel it at any moment.

mod answer;
mod anthropic;
mod dialect;
mod failure;
mod gemini;
mod json;
mod ollama;
mod openai;
mod wire;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context;
use reqwest::{Response, Url};
use secrecy::SecretString;

use self::{
    answer::{Answer, Flow},
    dialect::Dialect,
    failure::Failures,
    wire::{Fault, Frames},
};
use super::{ModelError, ModelReply, ModelRequest};
use crate::{config::ModelSettings, model::ModelInfo};

pub(super) struct RemoteModel {
    http: reqwest::Client,
    dialect: Dialect,
    /// Where whole answers and where streams are asked for.
    urls: [Url; 2],
    settings: ModelSettings,
    key: Option<SecretString>,
    info: ModelInfo,
    failures: Failures,
}

impl RemoteModel {
    /// Prepares the model with this name in the settings. Fails if its `base_url` is not a URL.
    pub(super) fn new(
        name: &str,
        settings: &ModelSettings,
        key: Option<SecretString>,
        http: reqwest::Client,
    ) -> anyhow::Result<Self> {
        let dialect = Dialect::of(settings.provider);
        let base = base_url(settings.base_url.as_deref().unwrap_or(dialect.own_url()))
            .with_context(|| format!("models.{name}.base_url must be a URL such as http://127.0.0.1:9099/v1"))?;
        Ok(Self {
            http,
            dialect,
            settings: settings.clone(),
            info: ModelInfo { id: settings.id.clone(), provider: dialect.name().to_owned() },
            failures: Failures::new(name, settings, &base, key.clone()),
            urls: [false, true].map(|streamed| dialect.url(&base, &settings.id, streamed)),
            key,
        })
    }

    pub(super) fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub(super) async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let started = Instant::now();
        let answer = self.within_limit(self.read_whole(request)).await.map_err(|fault| self.failures.explain(fault))?;
        let duration = started.elapsed();
        Ok(self.reply(answer, duration, duration))
    }

    /// `on_delta` receives every piece of content. The timeout applies to each wait for the next event.
    pub(super) async fn stream(
        &self,
        request: &ModelRequest,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ModelReply, ModelError> {
        let started = Instant::now();
        let mut first_piece = None;
        let mut on_piece = |piece: &str| {
            first_piece.get_or_insert_with(|| started.elapsed());
            on_delta(piece);
        };
        let answer = self.read_stream(request, &mut on_piece).await.map_err(|fault| self.failures.explain(fault))?;
        let duration = started.elapsed();
        Ok(self.reply(answer, first_piece.unwrap_or(duration), duration))
    }

    async fn read_whole(&self, request: &ModelRequest) -> Result<Answer, Fault> {
        let body = wire::read_whole(self.send(request, false).await?).await?;
        let mut answer = Answer::default();
        self.dialect.read_whole(&body, &mut answer)?;
        if answer.is_missing() { Err(Fault::Missing) } else { Ok(answer) }
    }

    async fn read_stream(
        &self,
        request: &ModelRequest,
        on_piece: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Answer, Fault> {
        let response = self.within_limit(self.send(request, true)).await?;
        let mut frames = Frames::new(response, self.dialect.framing());
        let mut answer = Answer::default();
        loop {
            let frame = self.within_limit(frames.next()).await?.ok_or(Fault::Cut)?;
            let handed_out = answer.content.len();
            let flow = self.dialect.read_frame(&frame, &mut answer)?;
            if answer.content.len() > handed_out {
                on_piece(&answer.content[handed_out..]);
            }
            if flow == Flow::Ends {
                return if answer.is_missing() { Err(Fault::Missing) } else { Ok(answer) };
            }
        }
    }

    async fn send(&self, request: &ModelRequest, streamed: bool) -> Result<Response, Fault> {
        let call = self.http.post(self.urls[usize::from(streamed)].clone());
        let call = self.dialect.authorize(call, self.key.as_ref());
        let response = self.dialect.with_body(call, &self.settings, request, streamed).send().await?;
        wire::accepted(response).await
    }

    async fn within_limit<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        tokio::time::timeout(self.settings.timeout, call).await.unwrap_or(Err(Fault::TimedOut))
    }

    fn reply(&self, mut answer: Answer, time_to_first_token: Duration, duration: Duration) -> ModelReply {
        let tool_calls = answer.take_tool_calls();
        let said = |text: String| (!text.is_empty()).then_some(text);
        ModelReply {
            content: said(answer.content),
            reasoning: said(answer.reasoning),
            tool_calls,
            usage: answer.usage,
            model: self.info.clone(),
            response_id: answer.response_id,
            time_to_first_token,
            duration,
        }
    }
}

/// Hides the base URL, which may contain a password.
impl fmt::Debug for RemoteModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteModel").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Parses a URL and makes its path end in a slash, so that paths can be appended.
fn base_url(url: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(url)?;
    anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "its scheme is neither http nor https");
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_end_in_a_slash() {
        assert_eq!(base_url("http://127.0.0.1:9099/v1").unwrap().as_str(), "http://127.0.0.1:9099/v1/");
        assert_eq!(base_url("https://host/v1/?version=2").unwrap().as_str(), "https://host/v1/?version=2");
        assert!(base_url("127.0.0.1:9099").is_err());
        assert!(base_url("ftp://host/").is_err());
    }
}
