//! The problems that many endpoints answer with, for the contract.

use utoipa::IntoResponses;

use super::problem::ProblemDocument;

/// What is named is not there.
#[derive(Debug, IntoResponses)]
pub enum NotThere {
    #[response(
        status = 404,
        description = "It is not there, or not yours; `detail` says what",
        content_type = "application/problem+json"
    )]
    NotFound(#[to_schema] ProblemDocument),
}

/// A query parameter cannot be used.
#[derive(Debug, IntoResponses)]
pub enum ParametersRefused {
    #[response(
        status = 422,
        description = "A parameter is refused; `errors` says which and why",
        content_type = "application/problem+json"
    )]
    Invalid(#[to_schema] ProblemDocument),
}

/// A body cannot be used.
#[derive(Debug, IntoResponses)]
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

/// A change was made from a version that is not the current one.
#[derive(Debug, IntoResponses)]
pub enum VersionMismatch {
    #[response(
        status = 412,
        description = "It is at another version than `If-Match` names; read it again",
        content_type = "application/problem+json"
    )]
    Changed(#[to_schema] ProblemDocument),
}

/// Everything may be well in a moment.
#[derive(Debug, IntoResponses)]
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
