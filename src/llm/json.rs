//! Finds JSON in a model's answer: small and local models wrap it in prose, a code fence or a reasoning block.

use serde_json::{Deserializer, Value};

/// The first valid JSON object or array in `text`, or `None`.
pub fn find(text: &str) -> Option<Value> {
    let text = without_reasoning(text);
    text.match_indices(['{', '[']).find_map(|(start, _)| {
        // Ignore the prose after the value.
        Deserializer::from_str(&text[start..]).into_iter().next()?.ok()
    })
}

/// The first JSON object in `text`, if the answer was cut off by the model's token limit: open strings and brackets are
/// closed. The last string may be incomplete.
pub fn find_cut_off(text: &str) -> Option<Value> {
    let text = without_reasoning(text);
    let text = &text[text.find('{')?..];
    let (mut open, mut is_text, mut is_escaped) = (Vec::new(), false, false);
    for character in text.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => is_text = !is_text,
            '{' if !is_text => open.push('}'),
            '[' if !is_text => open.push(']'),
            '}' | ']' if !is_text => drop(open.pop()?),
            _ => {}
        }
    }
    let mut closed =
        text.trim_end_matches(|last| if is_text { is_escaped && last == '\\' } else { last == ',' }).to_owned();
    closed.extend(is_text.then_some('"'));
    closed.extend(open.iter().rev());
    serde_json::from_str(&closed).ok()
}

fn without_reasoning(text: &str) -> &str {
    text.rsplit_once("</think>").map_or(text, |(_, after)| after)
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
    fn what_was_cut_off_is_read_as_far_as_it_goes() {
        for (text, expected) in [
            (r#"Here: {"summary": "Ann likes"#, json!({"summary": "Ann likes"})),
            (r#"{"summary": "Ann says \"tea\"#, json!({"summary": "Ann says \"tea"})),
            (r#"{"summary": "Ann", "topics": ["tea", "ca"#, json!({"summary": "Ann", "topics": ["tea", "ca"]})),
            (r#"{"summary": "Ann", "topics": ["tea","#, json!({"summary": "Ann", "topics": ["tea"]})),
        ] {
            assert_eq!(find_cut_off(text), Some(expected), "{text}");
        }
        for text in ["", "I cannot do that.", "{\"summary\": ", "{ not json"] {
            assert_eq!(find_cut_off(text), None, "{text}");
        }
    }

    #[test]
    fn text_without_json_has_none() {
        for text in ["", "I cannot do that.", "{\"summary\": ", "{ not json }"] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
