//! Error responses shared by many endpoints, for the `OpenAPI` contract.

use utoipa::IntoResponses;

use super::problem::ProblemDocument;

/// The named resource does not exist.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "for the contract alone")]
pub enum NotThere {
    #[response(
        status = 404,
        description = "It is not there, or not yours; `detail` says what",
        content_type = "application/problem+json"
    )]
    NotFound(#[to_schema] ProblemDocument),
}

/// A query parameter is invalid.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "for the contract alone")]
pub enum ParametersRefused {
    #[response(
        status = 422,
        description = "A parameter is refused; `errors` says which and why",
        content_type = "application/problem+json"
    )]
    Invalid(#[to_schema] ProblemDocument),
}

/// The body is invalid.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "for the contract alone")]
pub enum BodyRefused {
    #[response(status = 400, description = "The body cannot be read", content_type = "application/problem+json")]
    Unreadable(#[to_schema] ProblemDocument),
    #[response(
        status = 408,
        description = "The body did not arrive in time",
        content_type = "application/problem+json"
    )]
    TookTooLong(#[to_schema] ProblemDocument),
    #[response(status = 413, description = "The body is too large", content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemDocument),
    #[response(
        status = 415,
        description = "The body is of another media type",
        content_type = "application/problem+json"
    )]
    OtherMediaType(#[to_schema] ProblemDocument),
    #[response(
        status = 422,
        description = "A field or parameter is refused; `errors` says which and why",
        content_type = "application/problem+json"
    )]
    Invalid(#[to_schema] ProblemDocument),
}

/// `If-Match` does not name the current version.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "for the contract alone")]
pub enum VersionMismatch {
    #[response(
        status = 412,
        description = "It is at another version than `If-Match` names; read it again",
        content_type = "application/problem+json"
    )]
    Changed(#[to_schema] ProblemDocument),
}

/// Transient errors: a retry may succeed.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "for the contract alone")]
pub enum Unavailable {
    #[response(
        status = 503,
        description = "The database is away, or the server stops; try again after `Retry-After`",
        content_type = "application/problem+json"
    )]
    Unavailable(#[to_schema] ProblemDocument),
    #[response(
        status = 504,
        description = "It took longer than the server allows; try again",
        content_type = "application/problem+json"
    )]
    TookTooLong(#[to_schema] ProblemDocument),
}
