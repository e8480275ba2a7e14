//! The library's errors as sentences that a person can act on, in the words of the settings.
//!
//! Only a provider's own error text is ever quoted: an answer or a request never is.

use genai::{Error, webc};
use reqwest::{StatusCode, Url, header::HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{error::Error as StdError, time::Duration};

use crate::{
    clock,
    config::ModelSettings,
    llm::{ErrorKind, ModelError, credentials, retry},
};

/// Longest quotation of a provider's error text, in characters.
const LONGEST_EXCERPT: usize = 300;

#[derive(Debug)]
pub(super) struct Failures {
    /// The name in `[models]`.
    name: String,
    provider: &'static str,
    id: String,
    /// Scheme, host and port, without what else a URL may hold.
    server: String,
    key_variable: String,
    key: Option<SecretString>,
}

impl Failures {
    pub(super) fn new(
        name: &str,
        provider: &'static str,
        settings: &ModelSettings,
        base: &Url,
        key: Option<SecretString>,
    ) -> Self {
        let variable = settings.api_key_env.as_deref().or(credentials::usual_variable(settings.provider));
        Self {
            name: name.to_owned(),
            provider,
            id: settings.id.clone(),
            server: base.origin().ascii_serialization(),
            key_variable: variable.unwrap_or_default().to_owned(),
            key,
        }
    }

    pub(super) fn explain(&self, error: &Error) -> ModelError {
        match error {
            Error::HttpError { status, body, headers, .. } => self.status(*status, body, headers),
            Error::WebModelCall { webc_error, .. } | Error::WebAdapterCall { webc_error, .. } => self.web(webc_error),
            Error::WebStream { error, .. } => self.broken_stream(error.as_ref()),
            Error::ChatResponse { body, .. } => self.error_event(body),
            Error::ChatResponseGeneration { .. }
            | Error::StreamParse { .. }
            | Error::InvalidJsonResponseElement { .. }
            | Error::NoChatResponse { .. }
            | Error::JsonValueExt(_)
            | Error::SerdeJson(_) => self.unreadable(),
            _ => self.error(ErrorKind::Refused, "cannot be called in this way: check its settings."),
        }
    }

    pub(super) fn timed_out(&self, limit: Duration) -> ModelError {
        let what = format!("sent nothing for {limit:?}. Try again, or raise models.{}.timeout.", self.name);
        self.error(ErrorKind::TimedOut, &what)
    }

    pub(super) fn cut(&self) -> ModelError {
        self.error(ErrorKind::Unreadable, "broke its answer off before the end. Try again.")
    }

    pub(super) fn no_answer(&self) -> ModelError {
        self.error(ErrorKind::Unreadable, "answered with nothing: no content and no tool call.")
    }

    fn unreadable(&self) -> ModelError {
        let what = format!("sent something that is not an answer in its API. Is {} the right server?", self.server);
        self.error(ErrorKind::Unreadable, &what)
    }

    fn web(&self, error: &webc::Error) -> ModelError {
        match error {
            webc::Error::ResponseFailedStatus { status, body, headers } => self.status(*status, body, headers),
            webc::Error::Reqwest(error) => self.connection(error),
            _ => self.unreadable(),
        }
    }

    fn broken_stream(&self, error: &(dyn StdError + Send + Sync + 'static)) -> ModelError {
        if let Some(error) = error.downcast_ref::<Error>() {
            return self.explain(error);
        }
        match error.downcast_ref::<reqwest::Error>() {
            Some(error) => self.connection(error),
            None => self.unreadable(),
        }
    }

    fn connection(&self, error: &reqwest::Error) -> ModelError {
        if error.is_body() || error.is_decode() {
            return self.cut();
        }
        if error.is_builder() {
            let what = format!("cannot be called: check models.{0}.base_url and the key of models.{0}.", self.name);
            return self.error(ErrorKind::Refused, &what);
        }
        let what = format!(
            "cannot be reached at {} ({}). Is it running, and is models.{}.base_url right?",
            self.server,
            root_cause(error),
            self.name
        );
        self.error(ErrorKind::Unavailable, &what)
    }

    fn status(&self, status: StatusCode, body: &str, headers: &HeaderMap) -> ModelError {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
            StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
            status if status.is_server_error() => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        };
        let said = self.excerpt(body).map(|text| format!(": {text}")).unwrap_or_default();
        let what = format!("answered {}{said}.{}", status.as_u16(), self.advice(status));
        ModelError { retry_after: retry_after(headers), ..self.error(kind, &what) }
    }

    fn advice(&self, status: StatusCode) -> String {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.key_variable.is_empty() => {
                let (name, variable) = (&self.name, &self.key_variable);
                format!(" Check the key named by models.{name}.api_key_env (the variable {variable}).")
            }
            StatusCode::NOT_FOUND => format!(" Check models.{0}.id ({1}) and models.{0}.base_url.", self.name, self.id),
            StatusCode::TOO_MANY_REQUESTS => " Slow down, or raise the limit or the budget at the provider.".into(),
            _ => String::new(),
        }
    }

    /// An error in the middle of a stream, or in the body of a 200.
    fn error_event(&self, body: &Value) -> ModelError {
        let text = body.to_string();
        let kind = if text.contains("rate_limit") { ErrorKind::RateLimited } else { ErrorKind::Unavailable };
        let said = self.excerpt(&text).unwrap_or_default();
        self.error(kind, &format!("reported an error instead of an answer: {said}."))
    }

    /// What the provider says about its error: the message in its JSON, or the beginning of the text.
    fn excerpt(&self, body: &str) -> Option<String> {
        let json = serde_json::from_str::<Value>(body).ok();
        let message = json.as_ref().and_then(error_message);
        let text = message.unwrap_or(body).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = match &self.key {
            Some(key) => text.replace(key.expose_secret(), "[key]"),
            None => text,
        };
        let text: String = text.chars().take(LONGEST_EXCERPT).collect();
        let text = text.trim_end_matches(['.', ' ']);
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn error(&self, kind: ErrorKind, what: &str) -> ModelError {
        let message = format!("The model {} ({}) {what}", self.name, self.provider);
        ModelError { kind, message, retry_after: None }
    }
}

fn error_message(body: &Value) -> Option<&str> {
    ["/error/message", "/message", "/error", "/detail"].into_iter().find_map(|pointer| body.pointer(pointer)?.as_str())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    retry::parse_retry_after(value, clock::now())
}

/// The innermost reason: the outer ones of an HTTP client repeat the URL, which may hold credentials.
fn root_cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else { return "no connection".into() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;

    fn failures() -> Failures {
        let settings = ModelSettings::new(Provider::OpenAi, "gpt-test");
        let base = Url::parse("http://user:pass@host:9/v1/").unwrap();
        Failures::new("fast", "OpenAI", &settings, &base, Some("sk-very-secret".into()))
    }

    #[test]
    fn a_wrong_key_names_the_setting_and_never_the_key() {
        let body = r#"{"error": {"message": "Incorrect API key provided: sk-very-secret."}}"#;
        let error = failures().status(StatusCode::UNAUTHORIZED, body, &HeaderMap::new());
        assert_eq!(error.kind, ErrorKind::Refused);
        insta::assert_snapshot!(error, @"The model fast (OpenAI) answered 401: Incorrect API key provided: [key]. Check the key named by models.fast.api_key_env (the variable OPENAI_API_KEY).");
    }

    #[test]
    fn an_unknown_model_names_its_settings() {
        let error = failures().status(StatusCode::NOT_FOUND, "", &HeaderMap::new());
        insta::assert_snapshot!(error, @"The model fast (OpenAI) answered 404. Check models.fast.id (gpt-test) and models.fast.base_url.");
    }

    #[test]
    fn a_providers_long_error_is_cut_short() {
        let error = failures().status(StatusCode::BAD_GATEWAY, &"é".repeat(5000), &HeaderMap::new());
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.chars().count() < LONGEST_EXCERPT + 60);
    }

    #[test]
    fn statuses_have_their_kinds() {
        let kind = |status: u16| failures().status(StatusCode::from_u16(status).unwrap(), "", &HeaderMap::new()).kind;
        assert_eq!(kind(429), ErrorKind::RateLimited);
        assert_eq!([408, 500, 503, 529].map(kind), [ErrorKind::Unavailable; 4]);
        assert_eq!([400, 401, 404, 422].map(kind), [ErrorKind::Refused; 4]);
    }

    #[test]
    fn debugging_shows_no_key() {
        let shown = format!("{:?}", failures());
        assert!(!shown.contains("secret") && !shown.contains("pass"), "{shown}");
    }
}
