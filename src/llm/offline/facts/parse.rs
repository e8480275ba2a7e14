//! Parses one clause in the first person as a statement.

use super::{Statement, Verb};
use crate::llm::offline::text::{self, strip_words};

/// `None` if the clause states nothing about the writer, or is not understood.
pub(super) fn statement(clause: &str) -> Option<Statement> {
    name(clause)
        .map(Statement::Name)
        .or_else(|| dislike(clause).map(Statement::Dislike))
        .or_else(|| activity(clause))
        .or_else(|| age(clause))
        .or_else(|| attribute(clause))
}

const NAME_OPENERS: [&str; 10] = [
    "my name is",
    "my name's",
    "you can call me",
    "just call me",
    "call me",
    "people call me",
    "i am called",
    "i'm called",
    "i go by",
    "i am named",
];

fn name(clause: &str) -> Option<String> {
    if let Some(rest) = NAME_OPENERS.iter().find_map(|opener| strip_words(clause, opener)) {
        return name_at_start(rest);
    }
    // "I'm Ann" is a name, "I'm tired" is not: only the capital letter differs.
    if clause.starts_with("I'M") || clause.starts_with("I AM") {
        return None;
    }
    let rest = ["i'm", "i am"].iter().find_map(|opener| strip_words(clause, opener))?;
    let name = name_at_start(rest)?;
    let words: Vec<&str> = name.split(' ').collect();
    let is_proper =
        |word: &&str| word.chars().next().is_some_and(|first| first.is_alphabetic() && !first.is_lowercase());
    let is_whole = name.len() == rest.len() || rest[name.len()..].starts_with([',', ' ']);
    (is_whole && words.iter().all(is_proper) && !NO_NAMES.contains(&text::fold(words[0]).as_str())).then_some(name)
}

/// Capitalized words after "I'm" that are no names.
const NO_NAMES: [&str; 26] = [
    "american",
    "british",
    "english",
    "irish",
    "scottish",
    "french",
    "german",
    "spanish",
    "italian",
    "dutch",
    "polish",
    "swedish",
    "indian",
    "chinese",
    "japanese",
    "korean",
    "russian",
    "canadian",
    "mexican",
    "brazilian",
    "australian",
    "european",
    "muslim",
    "jewish",
    "catholic",
    "i",
];

/// Words that end a name.
const NAME_ENDS: [&str; 28] = [
    "and", "but", "from", "who", "by", "please", "now", "instead", "not", "again", "the", "a", "an", "is", "if",
    "when", "later", "with", "in", "for", "at", "on", "back", "maybe", "soon", "today", "tonight", "tomorrow",
];

fn name_at_start(text: &str) -> Option<String> {
    let end = text.find([',', ';', '(', '–', '—']).unwrap_or(text.len());
    let words = text[..end].split_whitespace().take_while(|word| !NAME_ENDS.contains(&text::fold(word).as_str()));
    let name = words.take(4).collect::<Vec<_>>().join(" ");
    let name = name.trim_matches(|c: char| c == '"' || c == '\'' || c == '“' || c == '”');
    let is_name = name.chars().any(char::is_alphabetic) && !name.chars().next().is_some_and(|c| c.is_ascii_digit());
    is_name.then(|| name.to_owned())
}

const DISLIKE_OPENERS: [&str; 8] = [
    "i don't like",
    "i do not like",
    "i don't love",
    "i don't enjoy",
    "i dislike",
    "i hate",
    "i no longer like",
    "i can't stand",
];

fn dislike(clause: &str) -> Option<String> {
    let object = DISLIKE_OPENERS.iter().find_map(|opener| strip_words(clause, opener))?;
    let folded = text::fold(object);
    let ending = [" anymore", " any more", " at all"].into_iter().find(|ending| folded.ends_with(ending));
    thing(&object[..object.len() - ending.map_or(0, str::len)])
}

const ADVERBS: [&str; 13] = [
    "really",
    "also",
    "absolutely",
    "just",
    "still",
    "mostly",
    "usually",
    "currently",
    "now",
    "do",
    "especially",
    "particularly",
    "truly",
];

fn activity(clause: &str) -> Option<Statement> {
    let mut rest = strip_words(clause, "i").or_else(|| strip_words(clause, "i'm"))?;
    while let Some(after) = ADVERBS.iter().find_map(|adverb| strip_words(rest, adverb)) {
        rest = after;
    }
    let with_am = text::fold(clause).starts_with("i'm").then(|| format!("am {rest}"));
    let rest = with_am.as_deref().unwrap_or(rest);
    let (object, verb) = Verb::WORDS.iter().find_map(|(word, verb)| Some((strip_words(rest, word)?, *verb)))?;
    let object = thing(object)?;
    let is_meant = match verb {
        Verb::Like
        | Verb::Prefer
        | Verb::Own
        | Verb::Drive
        | Verb::ComeFrom
        | Verb::Play
        | Verb::Study
        | Verb::Speak => true,
        Verb::Live | Verb::Work => {
            ["in ", "at ", "as ", "for ", "near ", "on ", "with "].iter().any(|word| object.starts_with(word))
        }
        Verb::Have => !["to ", "been ", "never ", "no ", "a question"].iter().any(|word| object.starts_with(word)),
    };
    is_meant.then_some(Statement::Activity { verb, object })
}

fn age(clause: &str) -> Option<Statement> {
    let rest = ["i'm", "i am"].iter().find_map(|opener| strip_words(clause, opener))?;
    let years = text::fold(rest).strip_suffix(" years old")?.parse::<u8>().ok()?;
    Some(Statement::Attribute { thing: "age".into(), predicate: format!("is {years}") })
}

fn attribute(clause: &str) -> Option<Statement> {
    let rest = strip_words(clause, "my")?;
    let folded = text::fold(rest);
    let at = [" is ", " are "].into_iter().filter_map(|verb| folded.find(verb)).min()?;
    let (subject, predicate) = (text::trim(&rest[..at]), text::trim(&rest[at..]));
    let (verb, value) = predicate.split_once(' ')?;
    let value = thing(value)?;
    let is_short = subject.split(' ').count() <= 4;
    let is_quoted = subject.contains('"');
    (is_short && !is_quoted && !subject.is_empty())
        .then(|| Statement::Attribute { thing: subject.to_owned(), predicate: format!("{} {value}", text::fold(verb)) })
}

/// Words that refer to something said elsewhere, or begin more than a noun phrase.
const NO_THINGS: [&str; 18] = [
    "it", "that", "this", "them", "these", "those", "you", "him", "her", "how", "what", "when", "your", "if",
    "the way", "nothing", "not", "where",
];

fn thing(text: &str) -> Option<String> {
    let text = text::trim(text);
    let folded = text::fold(text);
    let is_vague = NO_THINGS.iter().any(|word| folded == *word || strip_words(&folded, word).is_some());
    (!text.is_empty() && !is_vague).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(verb: Verb, object: &str) -> Statement {
        Statement::Activity { verb, object: object.into() }
    }

    #[test]
    fn names_are_found_with_and_without_an_opener() {
        for (clause, expected) in [
            ("my name is alice", Some("alice")),
            ("MY NAME'S Ångström, by the way", Some("Ångström")),
            ("I'm Mary Jane from Oslo", Some("Mary Jane")),
            ("I'm José", Some("José")),
            ("I am 李雷", Some("李雷")),
            ("call me \"Bob\" from now on", Some("Bob")),
            ("I'm tired", None),
            ("I'm German", None),
            ("I'm 42", None),
            ("my name is not Bob", None),
            ("call me back tomorrow", None),
            ("I'm Not Sure about it", None),
        ] {
            assert_eq!(name(clause).as_deref(), expected, "{clause}");
        }
    }

    #[test]
    fn likings_keep_what_is_said_of_them() {
        assert_eq!(
            statement("I love pizza, especially margherita"),
            Some(activity(Verb::Like, "pizza, especially margherita"))
        );
        assert_eq!(statement("I really like to swim"), Some(activity(Verb::Like, "to swim")));
        assert_eq!(statement("I'm into jazz"), Some(activity(Verb::Like, "jazz")));
        assert_eq!(statement("I'm from Oslo"), Some(activity(Verb::ComeFrom, "Oslo")));
        assert_eq!(statement("I prefer tea over coffee"), Some(activity(Verb::Prefer, "tea over coffee")));
    }

    #[test]
    fn what_only_looks_like_a_liking_is_none() {
        for clause in ["I like it", "I'd like a pizza", "I would like to know", "I like your style", "likes", "I like"]
        {
            assert_eq!(statement(clause), None, "{clause}");
        }
    }

    #[test]
    fn attributes_and_dislikes_are_read() {
        let attribute = |thing: &str, predicate: &str| {
            Some(Statement::Attribute { thing: thing.into(), predicate: predicate.into() })
        };
        assert_eq!(statement("my favorite color is blue"), attribute("favorite color", "is blue"));
        assert_eq!(statement("my dog's name is Rex"), attribute("dog's name", "is Rex"));
        assert_eq!(statement("I'm 30 years old"), attribute("age", "is 30"));
        assert_eq!(statement("my name is not Bob"), None);
        assert_eq!(statement("I don't like rain anymore"), Some(Statement::Dislike("rain".into())));
    }
}
