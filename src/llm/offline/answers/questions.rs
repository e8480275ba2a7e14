//! Classifies questions. All questions come lowercased and without their fillers.

use crate::llm::offline::{
    facts::Verb,
    text::{self, strip_words},
};

/// The earlier messages that a question is about.
#[derive(Debug, PartialEq)]
pub(super) enum Earlier {
    First,
    Last,
    All,
    /// The last message that mentions this.
    About(String),
    /// The model's last reply.
    Reply,
}

pub(super) fn about_earlier(question: &str) -> Option<Earlier> {
    let question = without_request(question).replace(" just ", " ");
    let question = question.as_str();
    if let Some(topic) =
        after_any(question, &["what did i say about", "what did i tell you about", "what have i said about"])
    {
        return Some(Earlier::About(topic.to_owned()));
    }
    let of_reply = ["what did you say", "what was your last", "what did you answer"];
    if starts_with_any(question, &of_reply) {
        return Some(Earlier::Reply);
    }
    let of_user = [
        "what did i say",
        "what did i ask",
        "what did i tell",
        "what have i said",
        "what have i told",
        "what have i asked",
        "what was my first",
        "what was my last",
        "what was my previous",
        "what was my earlier",
        "what did i first",
        "what did i last",
        "what was the first thing i said",
        "what was the last thing i said",
        "what was the first thing i asked",
        "what was the last thing i asked",
        "what is the first thing i said",
        "what is the last thing i said",
    ];
    if starts_with_any(question, &of_user) {
        return Some(if has_word(question, "first") { Earlier::First } else { Earlier::Last });
    }
    let of_both =
        ["what did we talk about", "what did we discuss", "what have we talked about", "what have we discussed"];
    starts_with_any(question, &of_both).then_some(Earlier::All)
}

pub(super) fn asks_for_name(question: &str) -> bool {
    let question = without_request(question);
    let asks =
        ["what is my name", "what's my name", "whats my name", "who am i", "who i am", "my name", "what am i called"];
    asks.iter().any(|asks| question == *asks || strip_words(question, asks).is_some_and(is_aside))
        || question == "do i have a name"
        || question.starts_with("what my name is")
}

/// Phrases that may follow a complete question without changing it.
fn is_aside(rest: &str) -> bool {
    ["again", "now", "then", "please", "by the way", "btw", "called"].contains(&rest)
}

pub(super) fn asks_for_all(question: &str) -> bool {
    let asks = ["what do you know about me", "what do you know of me", "what do you remember about me", "about me"];
    asks.contains(&without_aside(without_request(question)))
}

/// The time that a suggestion is wanted for, such as " this weekend"; empty without one.
pub(super) fn asks_for_suggestion(question: &str) -> Option<&'static str> {
    let asks = ["suggest", "recommend", "suggestion", "suggestions", "recommendation", "recommendations"];
    let wants = asks.iter().any(|word| has_word(question, word))
        || starts_with_any(question, &["what should i do", "what can i do", "what could i do", "what shall i do"]);
    let times = [" this weekend", " tonight", " today", " tomorrow", " this evening"];
    wants.then(|| times.into_iter().find(|time| question.contains(time)).unwrap_or_default())
}

/// The thing in "do I like tea".
pub(super) fn liked_thing(question: &str) -> Option<&str> {
    let asks = ["do i like", "do i love", "do i enjoy", "am i into", "i like", "i love"];
    after_any(without_request(question), &asks).map(without_aside)
}

/// The verb in "what do I like" and "where do I live", and the subject in "what food do I like".
pub(super) fn activity(question: &str) -> Option<(Verb, Option<&str>)> {
    let question = without_aside(without_request(question));
    if ["what are my likes", "what are my interests", "what are my hobbies", "what are my preferences"]
        .contains(&question)
    {
        return Some((Verb::Like, None));
    }
    if ["where am i from", "where i am from"].contains(&question) {
        return Some((Verb::ComeFrom, None));
    }
    let rest = after_any(question, &["what", "where", "which", "whom", "who"])?;
    let (subject, rest) = match rest.find("do i ") {
        Some(at) => (text::trim(&rest[..at]), &rest[at + "do i ".len()..]),
        None => ("", strip_words(rest, "i")?),
    };
    let mut words = rest.split(' ').filter(|word| !["really", "usually", "most"].contains(word));
    let verb = words.next().map(|verb| if verb == "come" { "come from" } else { verb }).and_then(Verb::parse)?;
    let ends_here = words
        .all(|word| ["best", "from", "in", "at", "as", "for", "to", "do", "doing", "eat", "eating"].contains(&word));
    let subject = ["kind of ", "kinds of ", "sort of ", "type of "]
        .iter()
        .fold(subject, |subject, kind| subject.strip_prefix(kind).unwrap_or(subject));
    ends_here.then_some((verb, (!subject.is_empty()).then_some(subject)))
}

/// The thing in "what's my favorite color".
pub(super) fn attribute(question: &str) -> Option<&str> {
    let question = without_request(question);
    if without_aside(question) == "how old am i" {
        return Some("age");
    }
    let asks = [
        "what is my",
        "what's my",
        "whats my",
        "what are my",
        "what was my",
        "who is my",
        "who's my",
        "who are my",
        "when is my",
        "when's my",
        "where is my",
        "which is my",
        "how old is my",
        "my",
    ];
    let thing = without_aside(after_any(question, &asks)?);
    let endings = [" is", " are", " called", " named"];
    let thing = endings.iter().find_map(|ending| thing.strip_suffix(ending)).unwrap_or(thing);
    (thing.split(' ').count() <= 4).then_some(thing)
}

/// Strips a request: "do you remember what my name is" becomes "what my name is".
fn without_request(question: &str) -> &str {
    const REQUESTS: [&str; 20] = [
        "can you",
        "could you",
        "would you",
        "will you",
        "please",
        "do you",
        "did you",
        "remember",
        "recall",
        "know",
        "tell me",
        "remind me",
        "say",
        "tell",
        "still",
        "of",
        "again",
        "and",
        "so",
        "also",
    ];
    let mut rest = question;
    while let Some(after) = REQUESTS.iter().find_map(|request| strip_words(rest, request)) {
        rest = after;
    }
    rest
}

fn without_aside(question: &str) -> &str {
    let asides = [" again", " please", " now", " by the way", " btw"];
    asides.iter().find_map(|aside| question.strip_suffix(aside)).map_or(question, text::trim)
}

fn after_any<'a>(question: &'a str, openers: &[&str]) -> Option<&'a str> {
    openers.iter().find_map(|opener| strip_words(question, opener))
}

fn starts_with_any(question: &str, openers: &[&str]) -> bool {
    openers.iter().any(|opener| question == *opener || strip_words(question, opener).is_some())
}

fn has_word(question: &str, word: &str) -> bool {
    question.split(|c: char| !c.is_alphanumeric()).any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_about_earlier_messages_are_told_apart() {
        for (question, expected) in [
            ("what did i say before", Some(Earlier::Last)),
            ("can you tell me what did i say first", Some(Earlier::First)),
            ("what was my first message", Some(Earlier::First)),
            ("what did i say about tea", Some(Earlier::About("tea".into()))),
            ("what did we talk about", Some(Earlier::All)),
            ("what did you say", Some(Earlier::Reply)),
            ("what did she say", None),
        ] {
            assert_eq!(about_earlier(question), expected, "{question}");
        }
    }

    #[test]
    fn a_name_is_asked_for_in_many_ways() {
        for question in [
            "what's my name",
            "who am i",
            "do you remember my name",
            "tell me what my name is",
            "what is my name again",
        ] {
            assert!(asks_for_name(question), "{question}");
        }
        assert!(!asks_for_name("what is my name day"));
    }

    #[test]
    fn verbs_and_subjects_are_found() {
        assert_eq!(activity("what food do i like"), Some((Verb::Like, Some("food"))));
        assert_eq!(activity("what do i like to eat"), Some((Verb::Like, None)));
        assert_eq!(activity("where do i live"), Some((Verb::Live, None)));
        assert_eq!(activity("do you know where i live"), Some((Verb::Live, None)));
        assert_eq!(activity("what do i think"), None);
        assert_eq!(activity("what do i like about you"), None);
    }

    #[test]
    fn a_suggestion_has_its_time() {
        assert_eq!(asks_for_suggestion("what do you suggest i do this weekend"), Some(" this weekend"));
        assert_eq!(asks_for_suggestion("any recommendations"), Some(""));
        assert_eq!(asks_for_suggestion("what is a weekend"), None);
    }
}
