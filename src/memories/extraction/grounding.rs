//! Whether a lesson is about the user at all: small models learn from what was answered to a question.

use std::collections::HashSet;

use crate::memories::store::Turn;

const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];

/// Whether the memory may be what the user said in these turns. One that is a question is not, nor one that says in
/// nothing but their words what was answered to questions: a sentence about the user has some word of its own.
pub(super) fn is_of_user<'a>(memory: &str, turns: impl Iterator<Item = &'a Turn>) -> bool {
    if is_question(memory) {
        return false;
    }
    let (mut asked, mut said) = (HashSet::new(), HashSet::new());
    for turn in turns {
        if !is_question(&turn.input) {
            return true;
        }
        asked.extend(words(&turn.input));
        said.extend(words(&turn.input).chain(turn.content.as_deref().into_iter().flat_map(words)));
    }
    let memory: HashSet<String> = words(memory).collect();
    !memory.is_subset(&said) || memory.is_subset(&asked)
}

fn is_question(text: &str) -> bool {
    text.trim_end().ends_with(QUESTION_MARKS)
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::sessions::SessionId;

    fn turn(input: &str, content: &str) -> Turn {
        Turn {
            session_id: SessionId::stored("s".into()),
            seq: 1,
            agent_id: "a".into(),
            input: input.into(),
            content: Some(content.into()),
            created_at: Utc::now(),
        }
    }

    #[test]
    fn an_answer_to_a_question_is_nothing_about_the_user() {
        for answer in ["The capital of France is Paris.", "Paris!"] {
            let turn = turn("What is the capital of France?", answer);
            assert!(!is_of_user("The capital of France is Paris.", [&turn].into_iter()));
            assert!(!is_of_user("What is the capital of France?", [&turn].into_iter()));
            assert!(is_of_user("The user is learning the capitals of Europe.", [&turn].into_iter()));
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
