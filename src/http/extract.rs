//! axum's extractors with our problems for refusals.

use std::error::Error;

use axum::{
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request, rejection::BytesRejection},
    http::{StatusCode, header, request::Parts},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IntoDeserializer},
};
use serde_json::Value;
use serde_path_to_error::Segment;

use super::problem::Problem;
use crate::{auth::UserId, text};

/// A JSON body. Unknown fields are refused by the type; texts with NUL are refused here.
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
        parse_json(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let is_absent = request.headers().get(header::CONTENT_TYPE).is_none()
            && request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && !request.headers().contains_key(header::TRANSFER_ENCODING);
        if is_absent {
            return Ok(None);
        }
        let Body(body) = <Body<Option<T>> as FromRequest<S>>::from_request(request, state).await?;
        Ok(body.map(Self))
    }
}

pub fn is_json(request: &Request) -> bool {
    media_type(request).is_some_and(|media| media == "application/json" || media.ends_with("+json"))
}

/// The request's media type in lower case, without parameters.
pub fn media_type(request: &Request) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The client has not sent its body in the time that it has.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
pub struct BodyTimedOut;

/// A body that could not be read, most often because it is larger than `server.max_body_bytes`.
pub fn too_large(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => body_too_large(),
        _ => body_error(rejection),
    }
}

/// A body that did not come in time, or not to its end.
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

/// Parses a JSON body: 400 where it is no JSON, 422 with a pointer where a field is refused.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would fill an object's fields from a list, one after the other.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("", "The body is a list; send a JSON object"));
    }
    // The escape is the only way for a NUL into JSON text, so most bodies are not walked.
    if bytes.windows(6).any(|window| window == b"\\u0000")
        && let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(pointer) = text::find_nul(&value)
    {
        return Err(Problem::invalid(pointer, text::TextError::Nul));
    }
    if text::nesting(bytes) > text::MAX_DEPTH {
        let detail = format!("The body nests deeper than {} levels; flatten it", text::MAX_DEPTH);
        return Err(Problem::invalid("", detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer_of(error.path());
        let inner = error.into_inner();
        if inner.is_data() {
            return refused(pointer, &without_position(&inner));
        }
        // serde takes a number where a word out of a few should be for broken JSON.
        if serde_json::from_slice::<Value>(bytes).is_ok() {
            return refused(pointer, "it is none of the words that stand here");
        }
        Problem::unreadable(format!("The body is not valid JSON: {inner}"))
    })?;
    deserializer.end().map_err(|error| Problem::unreadable(format!("The body is not valid JSON: {error}")))?;
    Ok(parsed)
}

/// serde's sentence about a field, with the field as its subject.
fn refused(pointer: String, reason: &str) -> Problem {
    match missing_field(reason) {
        Some(name) => Problem::invalid(format!("{pointer}/{name}"), "is missing; give it"),
        None if pointer.is_empty() => Problem::invalid("", format!("The body is refused: {}", in_plain_words(reason))),
        // Our own types speak of the field already.
        None if reason.starts_with("is ") || reason.starts_with("holds ") => Problem::invalid(pointer, reason),
        None => Problem::invalid(pointer, format!("is refused: {}", in_plain_words(reason))),
    }
}

fn missing_field(reason: &str) -> Option<&str> {
    reason.strip_prefix("missing field `")?.strip_suffix('`')
}

/// serde speaks of Rust's types.
fn in_plain_words(reason: &str) -> String {
    const WORDS: [(&str, &str); 9] = [
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected i64", "expected a whole number"),
        ("expected u64", "expected a whole number from 0"),
        ("expected a map", "expected an object"),
        ("expected a sequence", "expected a list"),
        ("expected a boolean", "expected true or false"),
        ("invalid digit found in string", "it is no whole number"),
        ("number too large to fit in target type", "the number is too large"),
        ("unsupported value", "it was given more than once"),
    ];
    // What chrono says of a text that is no time, and uuid of one that is no id.
    const NO_TIME: [&str; 4] =
        ["premature end of input", "input contains invalid characters", "input is out of range", "trailing input"];
    if NO_TIME.contains(&reason) {
        return "it is no time; write it as 2026-01-31T18:30:00Z".into();
    }
    if reason.starts_with("UUID parsing failed") {
        return "it is no id; give one as it was told, such as 01890a5d-ac96-774b-bcce-b302099a8057".into();
    }
    let reason = WORDS.iter().fold(reason.to_owned(), |reason, (rust, plain)| reason.replace(rust, plain));
    match reason.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected an object"),
        None => reason,
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", text::escape_pointer(key))),
            Segment::Enum { variant } => Some(format!("/{variant}")),
            Segment::Unknown => None,
        })
        .collect()
}

/// serde's sentence without "at line 1 column 20".
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or(&message).to_owned()
}

/// Query parameters, repeated ones included. Unknown ones are refused by the type.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        refuse_nul(parts.uri.query().unwrap_or_default())?;
        match axum_extra::extract::Query::from_request_parts(parts, state).await {
            Ok(axum_extra::extract::Query(query)) => Ok(Self(query)),
            Err(error) => {
                let text = error.to_string();
                let reason = text.rsplit("query string: ").next().unwrap_or(&text);
                Err(match reason.split_once(": ") {
                    Some((parameter, reason)) => refused(parameter.to_owned(), reason),
                    None => match missing_field(reason) {
                        Some(name) => Problem::invalid(name, "is missing; give it"),
                        None => Problem::invalid("query", format!("is refused: {}", in_plain_words(reason))),
                    },
                })
            }
        }
    }
}

/// Nothing is read from the query, as what is meant for the body would be missed there. The names that clients of the wire
/// send with every request are passed over.
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

/// The user that a request is made for, who may be named in the query and in this field of the body, but not two.
pub fn one_user(query: Option<UserId>, body: Option<UserId>, field: &str) -> Result<Option<UserId>, Problem> {
    match (&query, &body) {
        (Some(one), Some(other)) if one != other => {
            Err(Problem::invalid(field, "is another user than that of the query; leave one of the two out"))
        }
        _ => Ok(query.or(body)),
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

/// A query parameter that narrows what is seen: without a value it is refused, because an empty variable in a caller's
/// code must not widen it to everything.
pub fn never_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let text = String::deserialize(deserializer)?;
    T::deserialize(text.into_deserializer()).map(Some)
}

/// A query parameter without a value counts as left out: the existing clients send `db_id=`.
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

/// Path parameters.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            // An id that cannot be one names nothing.
            Err(_) => Err(Problem::not_found(format!(
                "There is nothing at {}: an id in it has not the form of one",
                parts.uri.path()
            ))),
        }
    }
}
