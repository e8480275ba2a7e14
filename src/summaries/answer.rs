//! The model's answer to a fold: parsed leniently, validated strictly.

use serde_json::Value;

use super::prompt::Limits;
use crate::{
    llm::{ResponseSchema, count_tokens, json},
    text,
};

/// Longer answers are refused without parsing: no summary is that long.
const MOST_BYTES: usize = 64 * 1024;
const MOST_TOPICS: usize = 20;
const TOPIC_CHARS: usize = 80;
const SENTENCE_ENDS: [char; 5] = ['.', '!', '?', '\n', '。'];

/// Name of the response schema.
pub(crate) const FORM: &str = "session_summary";

pub(crate) fn schema() -> ResponseSchema {
    ResponseSchema {
        name: FORM,
        schema: serde_json::json!({
            "type": "object",
            "properties": {
                // First: a small model forgets it over the newest messages.
                "user": { "type": "string" },
                "summary": { "type": "string" },
                "topics": { "type": "array", "items": { "type": "string" } },
            },
            "required": ["user", "summary", "topics"],
            "additionalProperties": false,
        }),
    }
}

/// A summary that has passed all checks.
#[derive(Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) summary: String,
    /// The part about the user, with which the summary begins.
    pub(crate) about_user: String,
    pub(crate) topics: Vec<String>,
    pub(crate) tokens: usize,
}

/// Parses an answer; `known` is what the previous version says about the user. The error is a complaint that the model
/// is shown, and operators after it. In the `last` answer, a summary that is too long, or cut off at the model's own
/// limit, is cut to whole sentences. The part about the user never takes more than half of the limit.
pub(crate) fn read(answer: &str, limits: Limits, known: &str, last: bool) -> Result<Draft, String> {
    if answer.len() > MOST_BYTES {
        return Err(format!("The answer has {} bytes; a summary has to be short", answer.len()));
    }
    let (found, is_cut_off) = match json::find(answer) {
        Some(found) => (Some(found), false),
        None => (json::find_cut_off(answer), true),
    };
    let Some(Value::Object(mut fields)) = found else {
        return Err(
            r#"The answer holds no JSON object; it has to be {"user": "…", "summary": "…", "topics": ["…"]}"#.into()
        );
    };
    if is_cut_off && !last {
        let most = limits.max_tokens;
        return Err(format!("The answer breaks off before its JSON ends; write a summary of at most {most} tokens"));
    }
    let cut_off = fields.keys().next_back().filter(|_| is_cut_off).cloned();
    let mut text_of = |name: &str| {
        let Some(Value::String(mut text)) = fields.remove(name) else { return None };
        text::replace_nul_in(&mut text);
        Some(paragraph(if cut_off.as_deref() == Some(name) { up_to_the_last_sentence(&text) } else { &text }))
    };
    let rest = text_of("summary").ok_or(r#"The JSON has no text "summary""#)?;
    let mut about_user = text_of("user").map(|user| at_most(&user, limits.max_tokens / 2)).unwrap_or_default();
    if rest.is_empty() && (about_user.is_empty() || !last) {
        return Err(r#"The "summary" is empty"#.into());
    }
    if about_user.is_empty() {
        // More likely an oversight of the model than a retraction.
        known.clone_into(&mut about_user);
    }
    let paragraphs = [about_user.as_str(), rest.as_str()];
    let mut summary = paragraphs.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n");
    let mut tokens = count_tokens(&summary);
    if tokens > limits.max_tokens && last {
        summary = at_most(&summary, limits.max_tokens);
        tokens = count_tokens(&summary);
        if !summary.starts_with(&about_user) {
            about_user.clone_from(&summary);
        }
    }
    if tokens > limits.max_tokens {
        return Err(format!(
            "The summary has {tokens} tokens; at most {} are allowed, so leave out what matters least",
            limits.max_tokens
        ));
    }
    if tokens > limits.replaced_tokens {
        return Err(format!(
            "The summary has {tokens} tokens and is longer than what it summarizes, which has {}",
            limits.replaced_tokens
        ));
    }
    Ok(Draft { summary, about_user, topics: topics(fields.remove("topics")), tokens })
}

fn paragraph(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Drops an incomplete last sentence; empty if no sentence is complete.
fn up_to_the_last_sentence(summary: &str) -> &str {
    let end = summary.rfind(SENTENCE_ENDS).map_or(0, |at| summary.ceil_char_boundary(at + 1));
    summary[..end].trim()
}

/// As many whole sentences from the beginning as fit the limit; the whole text if the first is too long already.
fn at_most(summary: &str, max_tokens: usize) -> String {
    let tokens = count_tokens(summary);
    if tokens <= max_tokens {
        return summary.to_owned();
    }
    let mut end = summary.floor_char_boundary(summary.len() * max_tokens / tokens);
    while let Some(at) = summary[..end].rfind(SENTENCE_ENDS) {
        let sentences = summary[..at].trim_end();
        if count_tokens(sentences) < max_tokens {
            let stop = if sentences.ends_with(SENTENCE_ENDS) { "" } else { "." };
            return format!("{sentences}{stop}");
        }
        end = at;
    }
    summary.to_owned()
}

/// Malformed topics are dropped, not refused: they only help to find a session.
fn topics(given: Option<Value>) -> Vec<String> {
    let given = match given {
        Some(Value::Array(topics)) => {
            topics.into_iter().filter_map(|topic| topic.as_str().map(str::to_owned)).collect()
        }
        Some(Value::String(topics)) => topics.split([',', ';']).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let mut topics: Vec<String> = Vec::new();
    for mut topic in given {
        text::replace_nul_in(&mut topic);
        let topic = text::truncate(topic.trim(), TOPIC_CHARS);
        if !topic.is_empty() && !topics.contains(&topic) && topics.len() < MOST_TOPICS {
            topics.push(topic);
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { max_tokens: 50, replaced_tokens: 200 };

    fn answer(summary: &str) -> String {
        json!({"summary": summary, "topics": ["tea", " tea ", "", "cake"]}).to_string()
    }

    #[test]
    fn json_in_prose_is_read_and_topics_are_tidied() {
        let draft =
            read(&format!("Of course!\n```json\n{}\n```\nBye.", answer(" Ann likes\0 tea. ")), LIMITS, "", false)
                .unwrap();
        assert_eq!(
            (draft.summary.as_str(), draft.topics),
            ("Ann likes\u{fffd} tea.", vec!["tea".to_owned(), "cake".to_owned()])
        );
        assert_eq!(read(r#"{"summary": "Ann", "topics": "a, b"}"#, LIMITS, "", false).unwrap().topics, ["a", "b"]);
        assert_eq!(read(r#"{"summary": "Ann"}"#, LIMITS, "", false).unwrap().topics, Vec::<String>::new());
    }

    #[test]
    fn what_is_known_of_the_user_comes_first_and_is_not_lost_by_neglect() {
        let of = |user: &str, known| {
            let answer = json!({"user": user, "summary": "They talked of tea.\n\nAnd of cake.", "topics": []});
            read(&answer.to_string(), LIMITS, known, false).unwrap()
        };
        let first = of(" The user is Ann.\n\nShe bakes. ", "");
        assert_eq!(first.summary, "The user is Ann.\nShe bakes.\n\nThey talked of tea.\nAnd of cake.");
        assert_eq!(first.about_user, "The user is Ann.\nShe bakes.");
        assert_eq!(of("", &first.about_user), first);
        assert_eq!(of("The user is Ben.", &first.about_user).about_user, "The user is Ben.");
        assert_eq!(of("", "").summary, "They talked of tea.\nAnd of cake.");
    }

    #[test]
    fn a_summary_may_be_of_the_user_alone_if_there_is_no_better() {
        let alone = json!({"user": "The user is Ann.", "summary": "", "topics": []}).to_string();
        assert!(read(&alone, LIMITS, "", false).unwrap_err().contains("is empty"));
        let draft = read(&alone, LIMITS, "", true).unwrap();
        assert_eq!((draft.summary.as_str(), draft.about_user.as_str()), ("The user is Ann.", "The user is Ann."));
        let long = json!({"user": "Ann likes tea. ".repeat(30), "summary": "They talked.", "topics": []}).to_string();
        let draft = read(&long, LIMITS, "", true).unwrap();
        assert!(draft.tokens <= 50 && count_tokens(&draft.about_user) <= 25, "{draft:?}");
        assert!(draft.summary.ends_with("\n\nThey talked."), "a long one leaves room for the rest: {draft:?}");
    }

    #[test]
    fn what_is_no_summary_is_refused_with_the_reason() {
        let too_long_for_its_source = Limits { replaced_tokens: 5, ..LIMITS };
        for (answer, limits, reason) in [
            ("Ann likes tea.".to_owned(), LIMITS, "no JSON object"),
            ("[1, 2]".into(), LIMITS, "no JSON object"),
            (r#"{"topics": []}"#.into(), LIMITS, "no text"),
            (answer(" \n"), LIMITS, "is empty"),
            (answer(&"Ann likes tea. ".repeat(30)), LIMITS, "at most 50"),
            (answer(&"x".repeat(1_000_000)), LIMITS, "has to be short"),
            (
                answer("Ann likes tea and does not like coffee."),
                too_long_for_its_source,
                "longer than what it summarizes",
            ),
        ] {
            let complaint = read(&answer, limits, "", false).unwrap_err();
            assert!(complaint.contains(reason), "{complaint}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_complained_of_and_then_read_as_far_as_it_goes() {
        let long = r#"{"summary": "Ann likes tea. Bob likes cof"#;
        assert!(read(long, LIMITS, "", false).unwrap_err().contains("breaks off"));
        assert_eq!(read(long, LIMITS, "", true).unwrap().summary, "Ann likes tea.");
        let whole = r#"{"summary": "Ann likes tea", "topics": ["te"#;
        assert_eq!(read(whole, LIMITS, "", true).unwrap().summary, "Ann likes tea");
        assert!(read(r#"{"summary": "Ann likes t"#, LIMITS, "", true).unwrap_err().contains("is empty"));
        let behind_user = r#"{"user": "Ann, 34, lives in Oslo", "summary": "They talked. Th"#;
        let draft = read(behind_user, LIMITS, "", true).unwrap();
        assert_eq!(draft.summary, "Ann, 34, lives in Oslo\n\nThey talked.");
        let in_user = r#"{"summary": "Ann likes tea.", "user": "The user is An"#;
        assert_eq!(read(in_user, LIMITS, "The user is Ann.", true).unwrap().about_user, "The user is Ann.");
    }

    #[test]
    fn what_is_still_too_long_is_cut_to_whole_sentences() {
        let draft = read(&answer(&"Ann likes tea. ".repeat(30)), LIMITS, "", true).unwrap();
        assert!(draft.tokens <= 50 && draft.summary.ends_with("Ann likes tea."), "{draft:?}");
        assert!(read(&answer(&"word ".repeat(100)), LIMITS, "", true).is_err(), "there is nowhere to cut");
    }
}
