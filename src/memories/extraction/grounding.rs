//! Whether an extracted memory is about the user at all: small models also learn from the answers to questions.

use std::collections::HashSet;

use super::prompt::ANSWER_CHARS;
use crate::{memories::store::Turn, text};

const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];
const ENDS_BEFORE_SPACE: [char; 4] = ['.', '!', '?', '؟'];
const ENDS: [char; 5] = ['\n', '。', '！', '？', '।'];

/// How a memory begins that reports a question: "The user asks how …".
const ASKING: [&str; 8] =
    ["asks", "asked", "is asking", "inquires", "inquired", "wonders", "wants to know", "would like to know"];
const ASKED_FOR: [&str; 11] =
    ["how", "what", "who", "whose", "where", "when", "which", "why", "whether", "if", "about"];

/// Words that stand for the user's "I" and "my" in a memory.
const OF_THE_USER: [&str; 5] = ["the", "user", "s", "you", "your"];
const FIRST_PERSON: [&str; 4] = ["i", "me", "my", "mine"];

/// Whether the memory may come from what the user said in these turns.
///
/// A memory that is a question itself is rejected. If any turn is not a question, every other memory is accepted. If
/// all turns are questions, a memory is rejected that reports a question, or that repeats an answer: all its words are
/// in the questions and one sentence of the answers, and at least one word is in no question ("the user" counts as
/// "I").
pub(super) fn is_of_user<'a>(memory: &str, turns: impl Iterator<Item = &'a Turn>) -> bool {
    if is_question(memory) {
        return false;
    }
    let known: HashSet<String> = words(memory).collect();
    let mut asked = HashSet::new();
    let mut answers = Vec::new();
    for turn in turns {
        if !is_question(turn.input()) {
            return true;
        }
        asked.extend(words(turn.input()));
        answers.extend(turn.answers().map(|answer| text::truncate(answer, ANSWER_CHARS)));
    }
    if tells_of_question(memory) {
        return false;
    }
    let is_answer = answers.iter().flat_map(|answer| sentences(answer)).any(|sentence| {
        let said: HashSet<String> = words(sentence).collect();
        known.iter().all(|word| asked.contains(word) || said.contains(word))
    });
    let is_of_first_person = FIRST_PERSON.iter().any(|word| asked.contains(*word));
    let is_asked = |word: &String| asked.contains(word) || (is_of_first_person && OF_THE_USER.contains(&word.as_str()));
    !is_answer || known.iter().all(is_asked)
}

/// Whether the memory reports a question. The answer settles the question, so it is not worth remembering.
fn tells_of_question(memory: &str) -> bool {
    let said = words(memory).collect::<Vec<_>>().join(" ");
    let told = said.strip_prefix("the ").unwrap_or(&said);
    let told = told.strip_prefix("user ").unwrap_or(told);
    let asked = ASKING.iter().find_map(|asking| told.strip_prefix(asking)?.strip_prefix(' '));
    let asked = asked.and_then(|asked| asked.split(' ').next());
    asked.is_some_and(|word| ASKED_FOR.contains(&word))
}

/// A full stop inside a number or a name does not end a sentence.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut before = ' ';
    text.split(move |c: char| {
        let is_end = ENDS.contains(&c) || (c.is_whitespace() && ENDS_BEFORE_SPACE.contains(&before));
        before = c;
        is_end
    })
}

fn is_question(text: &str) -> bool {
    text.trim_end().ends_with(QUESTION_MARKS)
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use crate::clock;

    use super::*;
    use crate::{
        memories::store::Said,
        model::{Role, SessionId},
    };

    fn turn(input: &str, answer: &str) -> Turn {
        let said = |index, role, content: &str| Said { index, role, content: content.into(), created_at: clock::now() };
        Turn {
            session_id: SessionId::stored("s".into()),
            seq: 1,
            agent_id: "a".into(),
            messages: vec![said(0, Role::User, input), said(1, Role::Assistant, answer)],
        }
    }

    #[test]
    fn an_answer_to_a_question_is_nothing_about_the_user() {
        for answer in ["The capital of France is Paris.", "Paris!", "That is easy. Paris is. Anything else?"] {
            let turn = turn("What is the capital of France?", answer);
            assert!(!is_of_user("The capital of France is Paris.", [&turn].into_iter()));
            assert!(!is_of_user("What is the capital of France?", [&turn].into_iter()));
            assert!(!is_of_user("Which city is the capital?", [&turn].into_iter()));
            assert!(is_of_user("The user is learning the capitals of Europe.", [&turn].into_iter()));
        }
        let latest = "The latest LTS version of Node.js is 20.11.";
        assert!(!is_of_user(latest, [&turn("What is the latest version of Node.js?", latest)].into_iter()));
    }

    #[test]
    fn a_question_told_of_is_nothing_about_the_user() {
        let asked = turn("How many legs does a spider have?", "Eight.");
        for memory in [
            "The user asks how many legs a spider has.",
            "User asks how many.",
            "The user wants to know about spiders' legs.",
        ] {
            assert!(!is_of_user(memory, [&asked].into_iter()), "{memory}");
        }
        let (wish, statement) =
            (turn("Could you call me Ann?", "Yes."), turn("I asked for a refund in May.", "Noted."));
        assert!(is_of_user("The user asks to be called Ann.", [&wish].into_iter()));
        assert!(is_of_user("The user asked about a refund in May.", [&asked, &statement].into_iter()));
    }

    #[test]
    fn a_long_answer_does_not_hide_what_the_user_let_slip() {
        let answer =
            "The best way is to use a queue. The user of it is working on one task. A Django app is on its own.";
        let long = format!("{} The user is working on a Django app.", "So it is. ".repeat(ANSWER_CHARS / 10));
        for answer in [answer, &long] {
            let turn = turn("Could you help me with my Django app?", answer);
            assert!(is_of_user("The user is working on a Django app.", [&turn].into_iter()));
        }
    }

    #[test]
    fn what_is_asked_to_be_remembered_is_of_the_user_whoever_repeats_it() {
        let turn = turn("Can you remember that my name is Anna?", "Of course: your name is Anna.");
        for memory in ["Your name is Anna.", "The user's name is Anna."] {
            assert!(is_of_user(memory, [&turn].into_iter()), "{memory}");
        }
    }

    #[test]
    fn what_the_user_says_counts_whatever_is_answered() {
        let told = turn("I love pizza", "So the user loves pizza!");
        let confirmed = [turn("Where could I live?", "Do you live in Oslo?"), turn("Yes", "Good.")];
        let within = turn("Would my dog Rex, a beagle, like the hills?", "A beagle like Rex would.");
        for (memory, turns) in [
            ("The user loves pizza.", vec![&told]),
            ("You live in Oslo.", confirmed.iter().collect()),
            ("The user has a beagle, Rex.", vec![&within]),
        ] {
            assert!(is_of_user(memory, turns.into_iter()), "{memory}");
        }
    }
}
