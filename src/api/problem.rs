//! RFC 9457 problem documents: the only format of error responses.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{Error, ErrorKind, FieldError, RunId};

const MEDIA_TYPE: &str = "application/problem+json";

/// An error with its HTTP status. `?` converts every error of the rooms below.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    error: Error,
}

/// The response body of an error, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `urn:colloquy:problem:` and the reason phrase of the status, in kebab case.
    #[serde(rename = "type")]
    #[schema(example = "urn:colloquy:problem:not-found")]
    kind: String,
    #[schema(example = "Not Found")]
    title: &'static str,
    #[schema(example = 404)]
    status: u16,
    /// What happened and how to fix it, for people.
    #[schema(example = "Session with id 'x' not found")]
    detail: String,
    /// The request's id, as in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// One entry per field that was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// A stable error code, if the problem has one beyond its status, such as `model_provider_error` or
    /// `database_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    /// The same as `error_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<&'static str>,
    /// The run that failed; it is kept and can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<Uuid>,
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Unreadable => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::VersionMismatch => StatusCode::PRECONDITION_FAILED,
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Limited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::ModelFailed => StatusCode::BAD_GATEWAY,
        ErrorKind::ModelTimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { status: status_of(error.kind()), error }
    }
}

impl Problem {
    /// An error that only HTTP has, such as 413 or 415.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, error: Error::unreadable(detail) }
    }

    /// 400: the request cannot be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Error::unreadable(detail).into()
    }

    /// 404: it does not exist, or is not the caller's.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Error::not_found(detail).into()
    }

    /// 422: one field is refused.
    pub fn invalid(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Error::invalid(pointer, detail).into()
    }

    /// The error of the first request with the same `Idempotency-Key`. It is final: repeating the request does not
    /// help.
    #[must_use]
    pub fn replayed(self) -> Self {
        let detail =
            format!("{} Under this Idempotency-Key that remains the answer; use a new one.", self.error.detail());
        Self { error: self.error.without_retry().saying(detail), ..self }
    }

    /// The same problem with another `detail`.
    #[must_use]
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self { error: self.error.saying(detail), ..self }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub fn detail(&self) -> &str {
        self.error.detail()
    }

    /// Logs a 5xx once, when it is answered. An error with its own code and no cause was logged already, with its run
    /// or where the model was called.
    fn log(&self) {
        let Self { status, error } = self;
        let is_logged = error.cause().is_none() && error.is_named();
        if status.is_server_error() && !is_logged {
            let run_id = error.run_id().map(tracing::field::display);
            let (status, cause) = (status.as_u16(), error.cause());
            tracing::error!(status, error.code = error.code(), cause, run.id = run_id, "{}", error.detail());
        }
    }

    /// The complete HTTP/1.1 response, for a connection that is closed afterwards.
    pub fn into_message(self) -> Vec<u8> {
        let (status, id) = (self.status, Uuid::now_v7().to_string());
        tracing::info!(status = status.as_u16(), request.id = id, "Refused a connection: {}", self.error.detail());
        let retry_after = self.error.wait().map(|wait| format!("retry-after: {}\r\n", wait.as_secs().max(1)));
        let body = serde_json::to_string(&self.document(Some(id.clone()))).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nx-request-id: {id}\r\n{}\
             x-content-type-options: nosniff\r\nconnection: close\r\n\r\n{body}",
            body.len(),
            retry_after.unwrap_or_default(),
        )
        .into_bytes()
    }

    fn document(&self, instance: Option<String>) -> ProblemDocument {
        let (status, error) = (self.status, &self.error);
        let title = status.canonical_reason().unwrap_or("Error");
        let error_type = error.is_named().then(|| error.code());
        ProblemDocument {
            kind: format!("urn:colloquy:problem:{}", title.to_ascii_lowercase().replace(' ', "-")),
            title,
            status: status.as_u16(),
            detail: error.detail().to_owned(),
            instance,
            errors: error.fields().to_vec(),
            error_type,
            error_id: error_type,
            run_id: error.run_id().map(|RunId(id)| id),
        }
    }
}

/// The body is written by [`render`], which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a [`Problem`] and logs a 5xx with its cause, once.
pub fn render(mut response: Response, id: Option<&RequestId>, uri: &Uri) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // Rejections by routes that are not ours, such as Swagger UI's.
        None if status.is_client_error() => {
            Problem::new(status, format!("The request to {} is refused; /docs lists what there is", uri.path()))
        }
        None => return response,
    };
    let instance = id.and_then(|id| id.header_value().to_str().ok().map(str::to_owned));
    problem.log();
    let mut rendered = (problem.status, axum::Json(problem.document(instance))).into_response();
    rendered.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    // Keep the headers of other layers, such as CORS and `Allow`.
    for (name, value) in response.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING].contains(name) {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    if let Some(seconds) = problem.error.wait().as_ref().map(Duration::as_secs_f64)
        && let Ok(value) = HeaderValue::from_str(&format!("{:.0}", seconds.ceil().max(1.0)))
    {
        rendered.headers_mut().insert(header::RETRY_AFTER, value);
    }
    rendered
}
