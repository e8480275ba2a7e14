//! Rule-based summaries and titles. A summary keeps the user's facts, in sentences that this model can parse again.

use serde_json::{Value, json};

use super::{
    facts::{Facts, Verb},
    text,
};
use crate::llm::{ModelRequest, PromptMessage};

/// Maximum number of facts in a summary; the oldest are dropped.
const MOST_FACTS: usize = 25;
const LONGEST_FACT: usize = 80;
const LONGEST_QUOTE: usize = 60;
const MOST_TOPICS: usize = 8;
const TITLE_WORDS: usize = 6;

/// The JSON for a summary or a title; `None` if the request asks for neither.
pub(super) fn write(request: &ModelRequest) -> Option<String> {
    let form = request.response.as_ref()?.name;
    let PromptMessage::User(shown) = request.messages.first()? else { return None };
    let written = match form {
        "session_summary" => summary(shown),
        "session_title" => json!({ "title": title(&elements(shown, "message")) }),
        _ => return None,
    };
    Some(written.to_string())
}

fn summary(shown: &str) -> Value {
    let mut known = Facts::default();
    let previous = elements(shown, "previous_summary").into_iter().next().unwrap_or_default();
    known.learn_from_notes(&previous);
    let said = elements(shown, "user");
    for message in &said {
        known.learn_from_user(message);
    }

    let mut sentences = sentences(&known);
    if sentences.is_empty() {
        let first = said.iter().find(|message| !message.trim().is_empty());
        // Without any facts, keep the previous summary.
        let kept = Some(previous).filter(|previous| !previous.trim().is_empty() && previous.trim() != "(none)");
        sentences.push(kept.unwrap_or_else(|| match first {
            Some(first) => format!("The conversation began with {}.", text::quote(first, LONGEST_QUOTE)),
            None => "Nothing was said.".into(),
        }));
    }
    json!({ "summary": sentences.join("\n"), "topics": topics(&known) })
}

/// In the third person, as notes about the user.
fn sentences(known: &Facts) -> Vec<String> {
    let attributes = known.attributes().iter().map(|(thing, predicate)| format!("The user's {thing} {predicate}."));
    let activities =
        known.activities().iter().map(|(verb, object)| format!("The user {} {object}.", third_person(*verb)));
    let dislikes = known.dislikes().iter().map(|object| format!("The user doesn't like {object}."));
    let facts: Vec<String> =
        attributes.chain(activities).chain(dislikes).filter(|fact| fact.chars().count() <= LONGEST_FACT).collect();
    let newest = facts.len().saturating_sub(MOST_FACTS);
    let name = known.name().map(|name| format!("The user's name is {name}."));
    name.into_iter().chain(facts.into_iter().skip(newest)).collect()
}

fn third_person(verb: Verb) -> String {
    match verb {
        Verb::Have => "has".into(),
        Verb::Study => "studies".into(),
        Verb::ComeFrom => "comes from".into(),
        other => format!("{}s", other.word()),
    }
}

fn topics(known: &Facts) -> Vec<String> {
    let things = known.attributes().iter().map(|(thing, _)| thing.clone());
    let objects = known.activities().iter().map(|(_, object)| super::facts::head(object));
    let mut topics: Vec<String> = Vec::new();
    for topic in things.chain(objects).filter(|topic| topic.chars().count() <= LONGEST_QUOTE) {
        if !topics.contains(&topic) && topics.len() < MOST_TOPICS {
            topics.push(topic);
        }
    }
    topics
}

/// The first words of the first message that is not empty.
fn title(said: &[String]) -> String {
    let first = said.iter().map(|message| text::plain(message)).find(|message| !text::trim(message).is_empty());
    let first = first.unwrap_or_else(|| "Untitled conversation".into());
    let words = text::without_fillers(&first);
    let words = if words.is_empty() { text::trim(&first) } else { words };
    let title = words.split_whitespace().take(TITLE_WORDS).collect::<Vec<_>>().join(" ");
    let title: String = text::trim(&title).chars().take(LONGEST_QUOTE).collect();
    let mut letters = title.chars();
    letters.next().map_or_else(String::new, |initial| initial.to_uppercase().chain(letters).collect())
}

/// The contents of all elements with this name. Their text is escaped, so none ends early.
fn elements(shown: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let after_open = shown.split(open.as_str()).skip(1);
    after_open.filter_map(|rest| rest.split_once(close.as_str())).map(|(inside, _)| text::plain(inside)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{ResponseSchema, offline};

    fn answer(form: &'static str, shown: &str) -> Value {
        let request = ModelRequest {
            messages: vec![PromptMessage::User(shown.into())],
            response: Some(ResponseSchema { name: form, schema: json!({}) }),
            ..ModelRequest::default()
        };
        serde_json::from_str(&offline::complete(&request).content.unwrap()).unwrap()
    }

    #[test]
    fn a_summary_keeps_what_is_known_and_adds_what_is_said() {
        let first = answer(
            "session_summary",
            "<previous_summary>\n(none)\n</previous_summary>\n<conversation>\n<user>Hi, my name is Alice and I like tea</user>\n\
             <assistant>I like coffee.</assistant>\n</conversation>",
        );
        assert_eq!(first["summary"], "The user's name is Alice.\nThe user likes tea.");
        assert_eq!(first["topics"], json!(["tea"]));
        let shown = format!(
            "<previous_summary>\n{}\n</previous_summary>\n<conversation>\n<user>I have a dog. I don't like rain.</user>\n\
             </conversation>",
            first["summary"].as_str().unwrap()
        );
        let second = answer("session_summary", &shown);
        let facts =
            ["The user's name is Alice.", "The user likes tea.", "The user has a dog.", "The user doesn't like rain."];
        assert_eq!(second["summary"], facts.join("\n"));
    }

    #[test]
    fn a_conversation_without_facts_has_a_summary_too() {
        let shown = "<previous_summary>\n(none)\n</previous_summary>\n<conversation>\n<user>Why is 1 &lt; 2?</user>\n</conversation>";
        assert_eq!(answer("session_summary", shown)["summary"], "The conversation began with “Why is 1 < 2?”.");
    }

    #[test]
    fn a_title_is_what_was_said_first() {
        let shown = "<conversation>\n<message>Hello, please tell me all about the tea ceremonies of Japan</message>\n</conversation>";
        assert_eq!(answer("session_title", shown)["title"], "Tell me all about the tea");
    }
}
