//! JSON in what a model says: small and local models put prose, a code fence or a reasoning block around it.

use serde_json::{Deserializer, Value};

/// The first JSON object or list in `text` that can be read; `None` when there is none. Where the text is nothing but
/// JSON, that is it.
pub fn find(text: &str) -> Option<Value> {
    let text = text.rsplit_once("</think>").map_or(text, |(_, after)| after);
    text.match_indices(['{', '[']).find_map(|(start, _)| {
        // What comes after the value is prose.
        Deserializer::from_str(&text[start..]).into_iter().next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_found_in_any_wrapping() {
        let expected = Some(json!({"summary": "Ann {likes} tea", "topics": ["tea"]}));
        let value = r#"{"summary": "Ann {likes} tea", "topics": ["tea"]}"#;
        for text in [
            value.to_owned(),
            format!("Sure! Here it is:\n```json\n{value}\n```\nAnything else?"),
            format!("<think>maybe {{\"summary\": 1}}</think>{value}"),
            format!("In {{braces}}: {value} Bye."),
        ] {
            assert_eq!(find(&text), expected, "{text}");
        }
    }

    #[test]
    fn text_without_json_has_none() {
        for text in ["", "I cannot do that.", "{\"summary\": ", "{ not json }"] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
