//! One model of one provider, called once: the edge to the library `genai`.
//!
//! `convert.rs` translates requests and answers, `failure.rs` turns the library's errors into ours. Nothing is
//! retried here.
//!
//! *Architecture Invariant:* no other file names the library, and none of its errors is printed: one of them holds the
//! whole request.

mod convert;
mod failure;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::StreamExt;
use genai::{
    Client, Headers, ModelIden, ServiceTarget,
    adapter::AdapterKind,
    chat::{ChatOptions, ChatStream, ChatStreamEvent, JsonSpec, ReasoningEffort},
    resolver::{AuthData, Endpoint},
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use self::{convert::Answer, failure::Failures};
use super::{ModelError, ModelInfo, ModelReply, ModelRequest};
use crate::config::{ModelSettings, Provider};

pub(super) struct RemoteModel {
    client: Client,
    target: ServiceTarget,
    options: ChatOptions,
    timeout: Duration,
    info: ModelInfo,
    failures: Failures,
}

impl RemoteModel {
    /// Prepares the model that the settings call `name`; fails when its `base_url` is not a URL.
    pub(super) fn new(
        name: &str,
        settings: &ModelSettings,
        key: Option<SecretString>,
        http: reqwest::Client,
    ) -> anyhow::Result<Self> {
        let (adapter, provider, own_url) = wiring(settings.provider);
        let base = base_url(settings.base_url.as_deref().unwrap_or(own_url))
            .with_context(|| format!("models.{name}.base_url must be a URL such as http://127.0.0.1:9099/v1"))?;
        let target = ServiceTarget {
            endpoint: Endpoint::from_owned(base.as_str()),
            auth: authentication(adapter, &base, key.as_ref())?,
            model: ModelIden::new(adapter, settings.id.as_str()),
        };
        Ok(Self {
            client: Client::builder().with_reqwest(http).build()?,
            target,
            options: options(adapter, settings, key.as_ref()),
            timeout: settings.timeout,
            info: ModelInfo { id: settings.id.clone(), provider: provider.to_owned() },
            failures: Failures::new(name, provider, settings, &base, key),
        })
    }

    pub(super) fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub(super) async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let started = Instant::now();
        let prompt = convert::to_chat_request(request, self.adapter());
        let options = with_response_schema(Cow::Borrowed(&self.options), request);
        let call = self.client.exec_chat(self.target.clone(), prompt, Some(&options));
        let answer = match tokio::time::timeout(self.timeout, call).await {
            Err(_) => return Err(self.failures.timed_out(self.timeout)),
            Ok(Ok(response)) => Answer::from_response(response),
            Ok(Err(error)) => match convert::rescue(&error, self.adapter()) {
                Some(answer) => answer,
                None => return Err(self.failures.explain(&error)),
            },
        };
        if answer.is_missing() {
            return Err(self.failures.no_answer());
        }
        let duration = started.elapsed();
        Ok(self.reply(answer, duration, duration))
    }

    /// `on_delta` gets every piece of content. The timeout applies to each wait for the next piece.
    pub(super) async fn stream(
        &self,
        request: &ModelRequest,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ModelReply, ModelError> {
        let started = Instant::now();
        let options = with_response_schema(Cow::Borrowed(&self.options), request);
        let (options, response_id) = with_response_id(options.into_owned());
        let prompt = convert::to_chat_request(request, self.adapter());
        let call = self.client.exec_chat_stream(self.target.clone(), prompt, Some(&options));
        let mut events = call.await.map_err(|error| self.failures.explain(&error))?.stream;
        let mut first_piece = None;
        let end = loop {
            match self.next_event(&mut events).await? {
                ChatStreamEvent::Chunk(chunk) if !chunk.content.is_empty() => {
                    first_piece.get_or_insert_with(|| started.elapsed());
                    on_delta(&chunk.content);
                }
                ChatStreamEvent::End(end) => break end,
                _ => {}
            }
        };
        if end.captured_stop_reason.is_none() && ends_without_a_marker(self.adapter()) {
            return Err(self.failures.cut());
        }
        let mut answer = Answer::from_stream(end);
        if answer.is_missing() {
            return Err(self.failures.no_answer());
        }
        answer.response_id = response_id.get().cloned();
        let duration = started.elapsed();
        Ok(self.reply(answer, first_piece.unwrap_or(duration), duration))
    }

    async fn next_event(&self, events: &mut ChatStream) -> Result<ChatStreamEvent, ModelError> {
        match tokio::time::timeout(self.timeout, events.next()).await {
            Err(_) => Err(self.failures.timed_out(self.timeout)),
            Ok(None) => Err(self.failures.cut()),
            Ok(Some(event)) => event.map_err(|error| self.failures.explain(&error)),
        }
    }

    fn adapter(&self) -> AdapterKind {
        self.target.model.adapter_kind
    }

    fn reply(&self, answer: Answer, time_to_first_token: Duration, duration: Duration) -> ModelReply {
        ModelReply {
            content: answer.content,
            reasoning: answer.reasoning,
            tool_calls: answer.tool_calls,
            usage: answer.usage,
            model: self.info.clone(),
            response_id: answer.response_id,
            time_to_first_token,
            duration,
        }
    }
}

/// The library's types show some headers, and so a key: only what is ours is shown.
impl fmt::Debug for RemoteModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteModel").field("info", &self.info).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The library's name for the provider, ours on the wire, and the provider's own endpoint.
fn wiring(provider: Provider) -> (AdapterKind, &'static str, &'static str) {
    match provider {
        Provider::OpenAi => (AdapterKind::OpenAI, "OpenAI", "https://api.openai.com/v1/"),
        Provider::Anthropic => (AdapterKind::Anthropic, "Anthropic", "https://api.anthropic.com/v1/"),
        Provider::Gemini => (AdapterKind::Gemini, "Google", "https://generativelanguage.googleapis.com/v1beta/"),
        Provider::Ollama => (AdapterKind::Ollama, "Ollama", "http://127.0.0.1:11434/"),
        Provider::Offline => unreachable!("the offline model is never called over the network"),
    }
}

/// The library appends its paths to the text of the URL, so it has to end in a slash.
fn base_url(url: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(url)?;
    anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "its scheme is neither http nor https");
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn authentication(adapter: AdapterKind, base: &Url, key: Option<&SecretString>) -> anyhow::Result<AuthData> {
    if let Some(key) = key {
        return Ok(AuthData::from_single(key.expose_secret()));
    }
    // Without a key the library still sends "Bearer " with nothing after it, which some servers refuse.
    if adapter == AdapterKind::OpenAI {
        let mut url = base.join("chat/completions")?;
        url.set_query(base.query());
        return Ok(AuthData::RequestOverride { url: url.into(), headers: Headers::default() });
    }
    Ok(AuthData::from_single(""))
}

fn options(adapter: AdapterKind, settings: &ModelSettings, key: Option<&SecretString>) -> ChatOptions {
    let mut options =
        ChatOptions { temperature: settings.temperature, max_tokens: settings.max_tokens, ..ChatOptions::default() }
            .with_capture_usage(true)
            .with_capture_content(true)
            .with_capture_reasoning_content(true)
            .with_capture_tool_calls(true)
            .with_capture_raw_body(true);
    if adapter == AdapterKind::OpenAI {
        // Keeps model names whole: otherwise "qwen-max" is sent as "qwen" with an effort. A budget is never sent.
        options = options.with_reasoning_effort(ReasoningEffort::Budget(0));
    }
    if let (AdapterKind::Ollama, Some(key)) = (adapter, key) {
        options = options.with_extra_headers([("authorization", format!("Bearer {}", key.expose_secret()))]);
    }
    options
}

/// These adapters report an end also when the connection was cut; only a stop reason tells a whole answer.
fn ends_without_a_marker(adapter: AdapterKind) -> bool {
    matches!(adapter, AdapterKind::Ollama | AdapterKind::Gemini)
}

fn with_response_schema<'a>(options: Cow<'a, ChatOptions>, request: &ModelRequest) -> Cow<'a, ChatOptions> {
    match &request.response {
        None => options,
        Some(response) => {
            let spec = JsonSpec::new(response.name, response.schema.clone());
            Cow::Owned(options.into_owned().with_response_format(spec))
        }
    }
}

/// The library drops the provider's id of a streamed answer, so it is read from the first raw frame that has one.
fn with_response_id(options: ChatOptions) -> (ChatOptions, Arc<OnceLock<String>>) {
    const FRAMES_TO_LOOK_AT: u32 = 3;
    let found = Arc::new(OnceLock::new());
    let slot = Arc::clone(&found);
    let options = options.with_raw_frame_fn(move |_, frame| {
        if frame.index >= FRAMES_TO_LOOK_AT || slot.get().is_some() {
            return;
        }
        if let Some(id) = frame.json().as_ref().and_then(convert::response_id) {
            let _ = slot.set(id);
        }
    });
    (options, found)
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

    #[test]
    fn a_keyless_call_keeps_the_query_of_the_base_url() {
        let base = base_url("https://host/v1?version=2").unwrap();
        let AuthData::RequestOverride { url, .. } = authentication(AdapterKind::OpenAI, &base, None).unwrap() else {
            panic!("no key means no authorization header");
        };
        assert_eq!(url, "https://host/v1/chat/completions?version=2");
    }
}
