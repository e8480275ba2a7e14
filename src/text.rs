//! Rules for untrusted text: from callers and from models.

use serde_json::Value;

pub const MAX_ID_BYTES: usize = 255;

/// Why a text is refused, as a sentence for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("is empty; give at least one character, or leave the field out")]
    Empty,
    #[error("is longer than {MAX_ID_BYTES} bytes; use a shorter id")]
    TooLong,
    #[error("holds a control character; remove it")]
    Control,
    #[error("holds a NUL character, which PostgreSQL cannot store; remove it")]
    Nul,
}

/// Ids are any text of 1 to 255 bytes without control characters.
pub fn check_id(id: &str) -> Result<(), TextError> {
    if id.is_empty() {
        return Err(TextError::Empty);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(TextError::TooLong);
    }
    if id.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    Ok(())
}

/// The JSON pointer of the first NUL character in `value`, in a key or in a string.
pub fn find_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| find_nul(item).map(|rest| format!("/{index}{rest}")))
        }
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            if key.contains('\0') {
                return Some(String::new());
            }
            find_nul(item).map(|rest| format!("/{}{rest}", escape_pointer(key)))
        }),
        _ => None,
    }
}

/// Maximum nesting depth of JSON. Far below the parser's limit, because stored values are nested inside others.
pub const MAX_DEPTH: usize = 64;

/// How many levels of lists and objects `value` has.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many levels of lists and objects JSON text has; an estimate if the text is not valid JSON.
pub fn nesting(json: &[u8]) -> usize {
    let (mut deepest, mut level, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Replaces NUL characters, which PostgreSQL cannot store, by the replacement character.
pub fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) => replace_nul_in(text),
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            if fields.keys().any(|key| key.contains('\0')) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(mut key, item)| {
                        replace_nul_in(&mut key);
                        (key, item)
                    })
                    .collect();
            }
            fields.values_mut().for_each(replace_nul);
        }
        _ => {}
    }
}

pub fn replace_nul_in(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

/// RFC 6901: `~` and `/` inside a key are written `~0` and `~1`.
pub fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// At most `max` characters of `text`, with an ellipsis where something was left out.
pub fn truncate(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_short_visible_text() {
        assert_eq!(check_id("alice@example.com"), Ok(()));
        assert_eq!(check_id("ünïcode 🦀"), Ok(()));
        assert_eq!(check_id(""), Err(TextError::Empty));
        assert_eq!(check_id(&"x".repeat(256)), Err(TextError::TooLong));
        assert_eq!(check_id("a\0b"), Err(TextError::Control));
    }

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        assert_eq!(find_nul(&json!({"a": ["x", {"b/c": "y\0"}]})).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(find_nul(&json!({"a\0": 1})).as_deref(), Some(""));
        assert_eq!(find_nul(&json!({"a": "\\u0000"})), None);
    }

    #[test]
    fn depth_is_the_same_in_text_and_value() {
        for (json, levels) in [("1", 0), (r#"{"a": [1, {"b": "]}[{\\\"["}]}"#, 3), ("[[], [[]]]", 3)] {
            assert_eq!(nesting(json.as_bytes()), levels, "{json}");
            assert_eq!(depth(&serde_json::from_str(json).unwrap()), levels, "{json}");
        }
    }

    #[test]
    fn nuls_are_replaced_in_keys_and_values() {
        let mut value = json!({"a\0": ["x\0y", {"b": "\0"}], "c": 1});
        replace_nul(&mut value);
        assert_eq!(find_nul(&value), None);
        assert_eq!(value["c"], 1);
    }

    #[test]
    fn truncation_counts_characters_and_says_that_it_happened() {
        assert_eq!(truncate("héllo", 5), "héllo");
        assert_eq!(truncate("héllo!", 5), "héll…");
    }
}
