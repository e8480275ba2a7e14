//! The API of a provider: URLs and bodies of requests, and parsing of answers.

use reqwest::{RequestBuilder, Url, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Flow},
    anthropic, gemini, ollama, openai,
    wire::{Fault, Framing},
};
use crate::{
    config::{ModelSettings, Provider},
    llm::{ModelRequest, PromptMessage},
    model::ToolCall,
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
}

impl Dialect {
    pub(super) fn of(provider: Provider) -> Self {
        match provider {
            Provider::OpenAi => Self::OpenAi,
            Provider::Anthropic => Self::Anthropic,
            Provider::Gemini => Self::Gemini,
            Provider::Ollama => Self::Ollama,
            Provider::Offline => unreachable!("the offline model is never called over the network"),
        }
    }

    /// The provider's name in API responses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Google",
            Self::Ollama => "Ollama",
        }
    }

    /// The provider's default endpoint.
    pub(super) fn own_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1/",
            Self::Anthropic => "https://api.anthropic.com/v1/",
            Self::Gemini => "https://generativelanguage.googleapis.com/v1beta/",
            Self::Ollama => "http://127.0.0.1:11434/",
        }
    }

    pub(super) fn framing(self) -> Framing {
        match self {
            Self::Ollama => Framing::Lines,
            Self::OpenAi | Self::Anthropic | Self::Gemini => Framing::ServerSentEvents,
        }
    }

    /// The URL of a call. The query of the base URL is kept.
    pub(super) fn url(self, base: &Url, id: &str, streamed: bool) -> Url {
        let path = match self {
            Self::OpenAi => "chat/completions".to_owned(),
            Self::Anthropic => "messages".to_owned(),
            Self::Gemini if streamed => format!("models/{id}:streamGenerateContent"),
            Self::Gemini => format!("models/{id}:generateContent"),
            Self::Ollama => "api/chat".to_owned(),
        };
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path()));
        if let (Self::Gemini, true) = (self, streamed) {
            url.query_pairs_mut().append_pair("alt", "sse");
        }
        url
    }

    pub(super) fn authorize(self, request: RequestBuilder, key: Option<&SecretString>) -> RequestBuilder {
        let request = match self {
            Self::Anthropic => request.header("anthropic-version", anthropic::VERSION),
            _ => request,
        };
        let Some(key) = key.map(ExposeSecret::expose_secret) else { return request };
        match self {
            Self::OpenAi | Self::Ollama => request.bearer_auth(key),
            Self::Anthropic => with_secret(request, "x-api-key", key),
            Self::Gemini => with_secret(request, "x-goog-api-key", key),
        }
    }

    pub(super) fn with_body(
        self,
        call: RequestBuilder,
        settings: &ModelSettings,
        request: &ModelRequest,
        streamed: bool,
    ) -> RequestBuilder {
        match self {
            Self::OpenAi => call.json(&openai::body(settings, request, streamed)),
            Self::Anthropic => call.json(&anthropic::body(settings, request, streamed)),
            Self::Gemini => call.json(&gemini::body(settings, request)),
            Self::Ollama => call.json(&ollama::body(settings, request, streamed)),
        }
    }

    pub(super) fn read_whole(self, body: &[u8], answer: &mut Answer) -> Result<(), Fault> {
        match self {
            Self::OpenAi => openai::read_whole(body, answer),
            Self::Anthropic => anthropic::read_whole(body, answer),
            Self::Gemini => gemini::read_whole(body, answer),
            Self::Ollama => ollama::read_whole(body, answer),
        }
    }

    pub(super) fn read_frame(self, frame: &str, answer: &mut Answer) -> Result<Flow, Fault> {
        match self {
            Self::OpenAi => openai::read_event(frame, answer),
            Self::Anthropic => anthropic::read_event(frame, answer),
            Self::Gemini => gemini::read_event(frame, answer),
            Self::Ollama => ollama::read_line(frame, answer),
        }
    }
}

/// Adds a header that is hidden from debug output. An invalid header value makes the request fail.
fn with_secret(request: RequestBuilder, name: &str, key: &str) -> RequestBuilder {
    match HeaderValue::try_from(key) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(name, value)
        }
        Err(_) => request.header(name, key),
    }
}

/// A message, or all results of one turn's tool calls, which Anthropic and Gemini require in one message.
pub(super) enum Turn<'a> {
    User(&'a str),
    Assistant { content: Option<&'a str>, tool_calls: &'a [ToolCall] },
    Results(&'a [PromptMessage]),
}

pub(super) fn turns(messages: &[PromptMessage]) -> impl Iterator<Item = Turn<'_>> {
    let is_result = |message: &PromptMessage| matches!(message, PromptMessage::Tool { .. });
    messages.chunk_by(move |a, b| is_result(a) && is_result(b)).map(|group| match &group[0] {
        PromptMessage::User(text) => Turn::User(text),
        PromptMessage::Assistant { content, tool_calls } => {
            Turn::Assistant { content: content.as_deref().filter(|text| !text.is_empty()), tool_calls }
        }
        PromptMessage::Tool { .. } => Turn::Results(group),
    })
}

/// The arguments as an object. Only OpenAI takes them as text; the other APIs reject the whole conversation if the
/// arguments of one call are not an object.
pub(super) fn object(arguments: &Value) -> Value {
    if arguments.is_object() { arguments.clone() } else { json!({"arguments": arguments}) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_the_query_of_the_base_url() {
        let base = Url::parse("https://host/v1/?version=2").unwrap();
        let url = |dialect: Dialect, streamed| dialect.url(&base, "m", streamed).to_string();
        assert_eq!(url(Dialect::OpenAi, false), "https://host/v1/chat/completions?version=2");
        assert_eq!(url(Dialect::Gemini, true), "https://host/v1/models/m:streamGenerateContent?version=2&alt=sse");
    }

    #[test]
    fn results_of_one_turn_travel_together() {
        let result = |id: &str| PromptMessage::Tool { call_id: id.into(), name: "t".into(), content: "ok".into() };
        let messages = [PromptMessage::User("hi".into()), result("1"), result("2"), PromptMessage::User("so".into())];
        let turns: Vec<_> = turns(&messages).collect();
        assert!(matches!(turns[..], [Turn::User("hi"), Turn::Results([_, _]), Turn::User("so")]));
    }
}
