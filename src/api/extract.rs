//! axum's extractors, with problem documents instead of axum's rejections.

use std::error::Error;

use axum::{
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IntoDeserializer},
};

use super::problem::Problem;
use crate::{
    model::json::{self, in_plain_words, missing_field, refused},
    text,
};

/// A JSON body. The type refuses unknown fields; strings with NUL are refused here.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not JSON; send it with Content-Type: application/json",
            ));
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|error| too_large(&error))?;
        Ok(Self(json::parse(&bytes)?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if !request.headers().contains_key(header::CONTENT_TYPE) && has_no_body(request.headers()) {
            return Ok(None);
        }
        let Body(body) = <Body<Option<T>> as FromRequest<S>>::from_request(request, state).await?;
        Ok(body.map(Self))
    }
}

pub fn is_json(request: &Request) -> bool {
    media_type(request.headers()).is_some_and(|media| media == "application/json" || media.ends_with("+json"))
}

/// Whether the headers say that there is no body.
pub fn has_no_body(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
        && !headers.contains_key(header::TRANSFER_ENCODING)
}

/// The request's media type in lower case, without parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The body did not arrive within its time limit.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
pub struct BodyTimedOut;

/// The problem for a body that could not be read, most often because it exceeds `server.max_body_bytes`.
pub fn too_large(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => body_too_large(),
        _ => body_error(rejection),
    }
}

/// The problem for a body that timed out or ended early.
pub fn body_error(error: &(dyn Error + 'static)) -> Problem {
    if is_timeout(error) {
        body_timed_out()
    } else {
        Problem::unreadable("The body ended before it was complete; send the request again")
    }
}

/// Whether reading failed because of [`BodyTimedOut`].
pub fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<BodyTimedOut>)
}

pub fn body_timed_out() -> Problem {
    let detail = "The body did not arrive in time (server.request_timeout); send it again, faster or in smaller parts";
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
}

pub fn body_too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body is larger than this server takes; send less, or raise server.max_body_bytes",
    )
}

/// Query parameters, which may be repeated. The type refuses unknown ones.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read_query(&parts.uri).await.map(Self)
    }
}

pub async fn read_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    refuse_nul(uri.query().unwrap_or_default())?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = uri.clone();
    let error = match axum_extra::extract::Query::from_request_parts(&mut parts, &()).await {
        Ok(axum_extra::extract::Query(query)) => return Ok(query),
        Err(error) => error.to_string(),
    };
    let reason = error.rsplit("query string: ").next().unwrap_or(&error);
    Err(match reason.split_once(": ") {
        Some((parameter, reason)) => refused(parameter.to_owned(), reason).into(),
        None => match missing_field(reason) {
            Some(name) => Problem::invalid(name, "is missing; give it"),
            None => Problem::invalid("query", format!("is refused: {}", in_plain_words(reason))),
        },
    })
}

/// Refuses query parameters: a value that is meant for the body would be ignored there. `db_id` and `table` are
/// allowed, because AgentOS clients send them with every request.
#[derive(Debug)]
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query: Vec<(String, String)> =
            serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        match query.into_iter().find(|(name, _)| !matches!(name.as_str(), "db_id" | "table")) {
            Some((name, _)) => {
                Err(Problem::invalid(name, "stands in the query, where it means nothing; give it in the body"))
            }
            None => Ok(Self),
        }
    }
}

fn refuse_nul(query: &str) -> Result<(), Problem> {
    if !query.contains("%00") {
        return Ok(());
    }
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    match pairs.into_iter().find(|(name, value)| name.contains('\0') || value.contains('\0')) {
        Some((mut name, _)) => {
            text::replace_nul_in(&mut name);
            Err(Problem::invalid(name, text::TextError::Nul))
        }
        None => Ok(()),
    }
}

/// For query parameters that narrow the result. An empty value is refused: an unset variable in the caller's code must
/// not widen the result to everything.
pub fn never_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let text = String::deserialize(deserializer)?;
    T::deserialize(text.into_deserializer()).map(Some)
}

/// An empty query parameter counts as absent: existing clients send `db_id=`.
pub fn absent_if_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    T::deserialize(text.into_deserializer()).map(Some)
}

/// Path parameters. A malformed id is a 404.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            // A malformed id cannot exist.
            Err(_) => Err(Problem::not_found(format!(
                "There is nothing at {}: an id in it has not the form of one",
                parts.uri.path()
            ))),
        }
    }
}
