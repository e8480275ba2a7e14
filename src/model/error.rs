//! Errors of requests: a kind, a stable code, a sentence, and the remedy.
//!
//! Each wire turns an [`Error`] into its own response; nothing here knows HTTP.

use std::{error::Error as _, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::text;

use super::RunId;

/// Errors quote the caller's input, so their length is limited.
const MAX_DETAIL_CHARS: usize = 800;
const MAX_FIELD_CHARS: usize = 400;

/// The kinds of errors. Each wire has a response for every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is malformed, or asks for something impossible.
    Unreadable,
    /// The resource does not exist, or is not the caller's.
    NotFound,
    /// The resource is in a state that does not allow the request.
    Conflict,
    /// The resource has changed since the caller read it.
    VersionMismatch,
    /// One or more fields are refused.
    Invalid,
    /// Too many requests; the same request succeeds later.
    Limited,
    /// The model failed.
    ModelFailed,
    /// The model did not answer in time.
    ModelTimedOut,
    /// The server, or its database, cannot serve the request right now.
    Unavailable,
    /// A fault of the server.
    Internal,
}

impl ErrorKind {
    /// The default code of errors of this kind.
    fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::VersionMismatch => "version_mismatch",
            Self::Invalid => "invalid",
            Self::Limited => "limited",
            Self::ModelFailed => "model_failed",
            Self::ModelTimedOut => "model_timed_out",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// Why a request failed and what to do about it. `?` converts a database error into one.
#[derive(Clone, Debug)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: ErrorKind,
    code: &'static str,
    detail: String,
    fields: Vec<FieldError>,
    run_id: Option<RunId>,
    retry_after: Option<Duration>,
    /// For the log only.
    cause: Option<String>,
}

/// A field that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the body, or the name of a parameter.
    #[schema(example = "/message")]
    pub pointer: String,
    #[schema(example = "is missing; give the user's message")]
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, detail: impl ToString) -> Self {
        let shorten = |text: &str| text::truncate(text, MAX_FIELD_CHARS);
        Self { pointer: shorten(&pointer.into()), detail: shorten(&detail.to_string()) }
    }

    fn sentence(&self) -> String {
        let field = self.pointer.trim_start_matches('/');
        format!("{field} {}", self.detail).trim_start().to_owned()
    }
}

impl Error {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            code: kind.code(),
            detail: text::truncate(&detail.into(), MAX_DETAIL_CHARS),
            fields: Vec::new(),
            run_id: None,
            retry_after: None,
            cause: None,
        }))
    }

    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreadable, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, detail)
    }

    /// One field is refused.
    pub fn invalid(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Self::invalid_fields(vec![FieldError::new(pointer, detail)])
    }

    /// These fields are refused.
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let sentences: Vec<_> = fields.iter().map(FieldError::sentence).collect();
        let mut error = Self::new(ErrorKind::Invalid, sentences.join(". "));
        error.0.fields = fields;
        error
    }

    /// Too many requests; the next one should wait.
    pub fn limited(detail: impl Into<String>, wait: Duration) -> Self {
        Self::new(ErrorKind::Limited, detail).retry_after(wait)
    }

    /// The same request may succeed a little later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(1))
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Removes the retry hint: waiting does not help.
    #[must_use]
    pub fn without_retry(mut self) -> Self {
        self.0.retry_after = None;
        self
    }

    #[must_use]
    pub fn about_run(mut self, run_id: RunId) -> Self {
        self.0.run_id = Some(run_id);
        self
    }

    /// Sets a stable, machine-readable code, such as `session_busy`.
    #[must_use]
    pub fn coded(mut self, code: &'static str) -> Self {
        self.0.code = code;
        self
    }

    /// Replaces the detail.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = text::truncate(&detail.into(), MAX_DETAIL_CHARS);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Whether it has a code of its own, other than the default of its kind.
    pub fn is_named(&self) -> bool {
        self.0.code != self.0.kind.code()
    }

    /// What happened and what to do, for a person.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn fields(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// The run that the error is about.
    pub fn run_id(&self) -> Option<RunId> {
        self.0.run_id
    }

    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What caused it, for the log only.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    fn internal(cause: String) -> Self {
        let detail = "Something went wrong inside the server. Quote the request id (instance) when you report it.";
        Self::new(ErrorKind::Internal, detail).because(cause)
    }

    fn because(mut self, cause: String) -> Self {
        self.0.cause = Some(cause);
        self
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_unavailable(&error) {
            let detail = "The database is not available right now; try again in a moment.";
            return Self::unavailable(detail).because(error.to_string()).coded("database_error");
        }
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        Self::internal(format!("{error} {source}"))
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<sqlx::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::internal(format!("{error:#}")),
        }
    }
}

/// Whether the same statement may succeed later: the database is down, starting, stopping, read-only, or out of
/// connections, or the transaction was rolled back because of another one (class 40).
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        // Protocol: the stream ended inside a message, because the server went down.
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        _ => false,
    }
}

/// Maps the violation of a named constraint to an error of the caller, at the statement that may violate it.
pub trait OnConstraint<T> {
    fn on_constraint(self, name: &str, error: impl FnOnce() -> Error) -> Result<T, Error>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, name: &str, error: impl FnOnce() -> Error) -> Result<T, Error> {
        self.map_err(|failure| match failure.as_database_error().and_then(|failure| failure.constraint()) {
            Some(violated) if violated == name => error(),
            _ => failure.into(),
        })
    }
}
