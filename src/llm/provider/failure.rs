//! Turns a fault into two texts: a plain sentence for callers, and details for operators that name the settings.
//!
//! Only the text of a provider's error is quoted, and only to operators; requests and answers never are.

use std::{error::Error as _, time::Duration};

use reqwest::{StatusCode, Url, header::HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::wire::{Fault, Refusal};
use crate::{
    clock,
    config::ModelSettings,
    llm::{ErrorKind, ModelError, credentials, retry},
};

/// Maximum length of a quoted error text, in characters.
const LONGEST_EXCERPT: usize = 300;

pub(super) struct Failures {
    /// The name in `[models]`.
    name: String,
    id: String,
    /// Scheme, host and port only.
    server: String,
    timeout: Duration,
    key_variable: String,
    key: Option<SecretString>,
}

impl Failures {
    pub(super) fn new(name: &str, settings: &ModelSettings, base: &Url, key: Option<SecretString>) -> Self {
        let variable = settings.api_key_env.as_deref().or(credentials::usual_variable(settings.provider));
        Self {
            name: name.to_owned(),
            id: settings.id.clone(),
            server: base.origin().ascii_serialization(),
            timeout: settings.timeout,
            key_variable: variable.unwrap_or_default().to_owned(),
            key,
        }
    }

    pub(super) fn explain(&self, fault: Fault) -> ModelError {
        match fault {
            Fault::Connection(error) => self.connection(&error),
            Fault::Status(refusal) => self.status(&refusal),
            Fault::Reported(text) => self.reported(&text),
            Fault::TimedOut => {
                let (limit, name) = (self.timeout, &self.name);
                self.error(ErrorKind::TimedOut, format!("sent nothing whole for {limit:?} (models.{name}.timeout)"))
            }
            Fault::Cut => self.cut(),
            Fault::Unreadable => {
                let what = "sent something that is not an answer in its API; check models";
                self.error(ErrorKind::Unreadable, format!("{what}.{}.base_url", self.name))
            }
            Fault::Missing => {
                self.error(ErrorKind::Unreadable, "answered with nothing: no content and no tool call".into())
            }
            Fault::TooLarge(what) => self.error(ErrorKind::TooLarge, format!("sent {what}")),
        }
    }

    fn cut(&self) -> ModelError {
        self.error(ErrorKind::Unreadable, "broke its answer off before the end".into())
    }

    fn connection(&self, error: &reqwest::Error) -> ModelError {
        if error.is_body() || error.is_decode() {
            return self.cut();
        }
        if error.is_builder() {
            let what = format!("cannot be called: check models.{0}.base_url and the key of models.{0}", self.name);
            return self.error(ErrorKind::Refused, what);
        }
        let (cause, name) = (root_cause(error), &self.name);
        let what = format!("cannot be reached ({cause}). Is it running, and is models.{name}.base_url right?");
        self.error(ErrorKind::Unavailable, what)
    }

    fn status(&self, refusal: &Refusal) -> ModelError {
        let Refusal { status, headers, body } = refusal;
        let kind = match *status {
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
            StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
            status if status.is_server_error() => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        };
        let said = self.excerpt(body).map(|text| format!(": {text}")).unwrap_or_default();
        let what = format!("answered {}{said}.{}", status.as_u16(), self.advice(*status));
        ModelError { retry_after: retry_after(headers), ..self.error(kind, what) }
    }

    fn advice(&self, status: StatusCode) -> String {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.key_variable.is_empty() => {
                let (name, variable) = (&self.name, &self.key_variable);
                format!(" Check the key named by models.{name}.api_key_env (the variable {variable}).")
            }
            StatusCode::NOT_FOUND => format!(" Check models.{0}.id ({1}) and models.{0}.base_url.", self.name, self.id),
            StatusCode::TOO_MANY_REQUESTS => " Raise the limit or the budget at the provider.".into(),
            _ => String::new(),
        }
    }

    fn reported(&self, text: &str) -> ModelError {
        let kind = if text.contains("rate_limit") { ErrorKind::RateLimited } else { ErrorKind::Unavailable };
        let said = self.excerpt(text).unwrap_or_default();
        self.error(kind, format!("reported an error instead of an answer: {said}"))
    }

    /// The provider's error text: the message in its JSON, or else the beginning of the body.
    fn excerpt(&self, body: &str) -> Option<String> {
        let json = serde_json::from_str::<Value>(body).ok();
        let message = json.as_ref().and_then(error_message);
        let text = message.unwrap_or(body).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = match self.key.as_ref().map(ExposeSecret::expose_secret) {
            Some(key) if !key.is_empty() => text.replace(key, "[key]"),
            _ => text,
        };
        let text: String = text.chars().take(LONGEST_EXCERPT).collect();
        let text = text.trim_end_matches(['.', ' ']);
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn error(&self, kind: ErrorKind, what: String) -> ModelError {
        ModelError::new(kind, &self.name, format!("models.{} at {} {what}", self.name, self.server))
    }
}

fn error_message(body: &Value) -> Option<&str> {
    let known = ["/error/message", "/message", "/error", "/detail"];
    body.as_str().or_else(|| known.into_iter().find_map(|pointer| body.pointer(pointer)?.as_str()))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    retry::parse_retry_after(value, clock::now())
}

/// The innermost cause: the outer errors of the HTTP client repeat the URL, which may contain credentials.
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
        Failures::new("fast", &settings, &base, Some("sk-very-secret".into()))
    }

    fn refusal(status: u16, body: &str) -> ModelError {
        let status = StatusCode::from_u16(status).unwrap();
        failures().status(&Refusal { status, headers: HeaderMap::new(), body: body.into() })
    }

    #[test]
    fn a_wrong_key_names_the_setting_to_operators_and_never_the_key() {
        let error = refusal(401, r#"{"error": {"message": "Incorrect API key provided: sk-very-secret."}}"#);
        assert_eq!(error.kind, ErrorKind::Refused);
        insta::assert_snapshot!(error.detail, @"models.fast at http://host:9 answered 401: Incorrect API key provided: [key]. Check the key named by models.fast.api_key_env (the variable OPENAI_API_KEY).");
        insta::assert_snapshot!(error, @"The model fast refuses the request. Ask the operator of this server to check the model's settings.");
    }

    #[test]
    fn an_unknown_model_names_its_settings() {
        insta::assert_snapshot!(refusal(404, "").detail, @"models.fast at http://host:9 answered 404. Check models.fast.id (gpt-test) and models.fast.base_url.");
    }

    #[test]
    fn a_providers_long_error_is_cut_short() {
        let error = refusal(502, &"é".repeat(5000));
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.detail.chars().count() < LONGEST_EXCERPT + 80);
    }

    #[test]
    fn statuses_have_their_kinds() {
        let kind = |status: u16| refusal(status, "").kind;
        assert_eq!(kind(429), ErrorKind::RateLimited);
        assert_eq!([408, 500, 503, 529].map(kind), [ErrorKind::Unavailable; 4]);
        assert_eq!([400, 401, 404, 422].map(kind), [ErrorKind::Refused; 4]);
    }
}
