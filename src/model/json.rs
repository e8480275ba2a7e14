//! Parses JSON from callers. Errors contain the location and the reason, in plain words.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::Error;
use crate::text;

/// Parses a JSON body: 400 if it is not JSON, 422 with a JSON pointer if a field is refused.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // serde would accept a list in place of an object, and assign its elements to the fields in order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Error::invalid("", "The body is a list; send a JSON object"));
    }
    // JSON can contain a NUL only as this escape, so most bodies need no second pass.
    if bytes.windows(6).any(|window| window == b"\\u0000")
        && let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(pointer) = text::find_nul(&value)
    {
        return Err(Error::invalid(pointer, text::TextError::Nul));
    }
    if text::nesting(bytes) > text::MAX_DEPTH {
        let detail = format!("The body nests deeper than {} levels; flatten it", text::MAX_DEPTH);
        return Err(Error::invalid("", detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer_of(error.path());
        let inner = error.into_inner();
        if inner.is_data() {
            return refused(pointer, &without_position(&inner));
        }
        // serde reports a number in place of an enum value as invalid JSON.
        if serde_json::from_slice::<Value>(bytes).is_ok() {
            return refused(pointer, "it is none of the words that stand here");
        }
        Error::unreadable(format!("The body is not valid JSON: {inner}"))
    })?;
    deserializer.end().map_err(|error| Error::unreadable(format!("The body is not valid JSON: {error}")))?;
    Ok(parsed)
}

/// Turns serde's message into an error about the field at `pointer`.
pub fn refused(pointer: String, reason: &str) -> Error {
    match missing_field(reason) {
        Some(name) => Error::invalid(format!("{pointer}/{name}"), "is missing; give it"),
        None if pointer.is_empty() => Error::invalid("", format!("The body is refused: {}", in_plain_words(reason))),
        // Messages of our own types have the field as their subject already.
        None if reason.starts_with("is ") || reason.starts_with("holds ") => Error::invalid(pointer, reason),
        None => Error::invalid(pointer, format!("is refused: {}", in_plain_words(reason))),
    }
}

pub fn missing_field(reason: &str) -> Option<&str> {
    reason.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Replaces the names of Rust types in serde's messages.
pub fn in_plain_words(reason: &str) -> String {
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
    // chrono's messages for a text that is not a time.
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

/// serde's message without "at line 1 column 20".
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or(&message).to_owned()
}
