//! RFC 9457 problem documents: the one form in which a request fails.

use std::{error::Error as _, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{database, text};

/// What a caller sent is quoted, but not at any length.
const MAX_DETAIL_CHARS: usize = 800;
const MAX_FIELD_CHARS: usize = 400;
const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request failed and what to do about it.
///
/// `?` turns a database error into one. Other clients than ours read `detail`, so that is always a sentence.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    error_type: Option<&'static str>,
    run_id: Option<Uuid>,
    retry_after: Option<Duration>,
    /// For the log only.
    cause: Option<String>,
}

/// The document as it is sent, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `urn:colloquy:problem:` and the status in words.
    #[serde(rename = "type")]
    #[schema(example = "urn:colloquy:problem:not-found")]
    kind: String,
    #[schema(example = "Not Found")]
    title: &'static str,
    #[schema(example = 404)]
    status: u16,
    /// What happened and what to do, for a person.
    #[schema(example = "Session with id 'x' not found")]
    detail: String,
    /// The request's id, as in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// One entry per field that was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The kind of a failure behind us, as on the wire: `model_provider_error`, `database_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    /// The same as `error_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<&'static str>,
    /// The run that failed; it is kept and can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<Uuid>,
}

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

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            detail: text::truncate(&detail.into(), MAX_DETAIL_CHARS),
            errors: Vec::new(),
            error_type: None,
            run_id: None,
            retry_after: None,
            cause: None,
        }))
    }

    /// 400: the request cannot be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: not there, or not the caller's.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: one field is refused.
    pub fn invalid(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Self::invalid_fields(vec![FieldError::new(pointer, detail)])
    }

    /// 422: these fields are refused.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let sentences: Vec<_> = errors.iter().map(FieldError::sentence).collect();
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentences.join(". "));
        problem.0.errors = errors;
        problem
    }

    /// 503: the same request may succeed a little later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(Duration::from_secs(1))
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// What the first request with the same `Idempotency-Key` has come to: it stays so, however often it is sent.
    #[must_use]
    pub fn replayed(mut self) -> Self {
        self.0.retry_after = None;
        let detail = format!("{} Under this Idempotency-Key that remains the answer; use a new one.", self.0.detail);
        self.saying(detail)
    }

    #[must_use]
    pub fn about_run(mut self, run_id: Uuid) -> Self {
        self.0.run_id = Some(run_id);
        self
    }

    #[must_use]
    pub fn of_type(mut self, error_type: &'static str) -> Self {
        self.0.error_type = Some(error_type);
        self
    }

    /// The same, said in other words.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = text::truncate(&detail.into(), MAX_DETAIL_CHARS);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    fn internal(cause: String) -> Self {
        let detail = "Something went wrong inside the server. Quote the request id (instance) when you report it.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail).because(cause)
    }

    /// What the log says beside the detail.
    fn because(mut self, cause: String) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// A 4xx is the caller's to read; a 5xx is the operator's. A run that ended with an error has logged it already, and
    /// what a provider said of it may quote the prompt.
    fn log(&self) {
        let Parts { status, detail, cause, run_id, error_type, .. } = &*self.0;
        let is_logged = cause.is_none() && error_type.is_some();
        if status.is_server_error() && !is_logged {
            let run_id = run_id.map(tracing::field::display);
            tracing::error!(status = status.as_u16(), cause, run.id = run_id, "{detail}");
        }
    }

    /// The whole HTTP/1.1 message, for a connection that is closed after it.
    pub fn into_message(self) -> Vec<u8> {
        let (status, id) = (self.0.status, Uuid::now_v7().to_string());
        tracing::info!(status = status.as_u16(), request.id = id, "Refused a connection: {}", self.0.detail);
        let retry_after = self.0.retry_after.map(|wait| format!("retry-after: {}\r\n", wait.as_secs().max(1)));
        let body = serde_json::to_string(&self.document(Some(id.clone()))).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nx-request-id: {id}\r\n{}\
             x-content-type-options: nosniff\r\nconnection: close\r\n\r\n{body}",
            body.len(),
            retry_after.unwrap_or_default(),
        )
        .into_bytes()
    }

    fn document(self, instance: Option<String>) -> ProblemDocument {
        let Parts { status, detail, errors, error_type, run_id, .. } = *self.0;
        let title = status.canonical_reason().unwrap_or("Error");
        ProblemDocument {
            kind: format!("urn:colloquy:problem:{}", title.to_ascii_lowercase().replace(' ', "-")),
            title,
            status: status.as_u16(),
            detail,
            instance,
            errors,
            error_type,
            error_id: error_type,
            run_id,
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if database::is_unavailable(&error) {
            let detail = "The database is not available right now; try again in a moment.";
            return Self::unavailable(detail).because(error.to_string()).of_type("database_error");
        }
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        Self::internal(format!("{error} {source}"))
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<sqlx::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::internal(format!("{error:#}")),
        }
    }
}

/// The document itself is written by [`render`], which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the document of a [`Problem`] and logs a 5xx with its cause, once.
pub async fn render(request: Request, next: Next) -> Response {
    let (id, uri) = (request.extensions().get::<RequestId>().cloned(), request.uri().clone());
    let mut response = next.run(request).await;
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // Refusals of routes that are not ours: the documentation's.
        None if status.is_client_error() => {
            Problem::new(status, format!("The request to {} is refused; /docs lists what there is", uri.path()))
        }
        None => return response,
    };
    let instance = id.and_then(|id| id.header_value().to_str().ok().map(str::to_owned));
    problem.log();
    let retry_after = problem.0.retry_after;
    let mut rendered = (problem.0.status, axum::Json(problem.document(instance))).into_response();
    rendered.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    // What other layers say of the answer stays: to whom it may be shown, which methods there are.
    for (name, value) in response.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING].contains(name) {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    if let Some(wait) = retry_after {
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        if let Ok(value) = HeaderValue::from_str(&format!("{seconds:.0}")) {
            rendered.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    rendered
}

/// Turns the violation of a named constraint into the caller's error, at the statement that may violate it.
pub trait OnConstraint<T> {
    fn on_constraint(self, name: &str, problem: impl FnOnce() -> Problem) -> Result<T, Problem>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, name: &str, problem: impl FnOnce() -> Problem) -> Result<T, Problem> {
        self.map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
            Some(violated) if violated == name => problem(),
            _ => error.into(),
        })
    }
}
