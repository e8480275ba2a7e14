//! Rewrites "The user likes pizza" as "I like pizza", so that one parser reads notes and statements.

use crate::llm::offline::text;

/// Puts a sentence about the user into the first person; any other sentence stays unchanged.
pub(super) fn in_first_person(sentence: &str, name: Option<&str>) -> String {
    let sentence = text::trim(sentence);
    if let Some(value) = ["name:", "user name:", "user's name:"].iter().find_map(|label| strip_label(sentence, label)) {
        return format!("my name is {value}");
    }
    let subjects = ["the user", "user"].into_iter().chain(name);
    for subject in subjects {
        let Some(head) = sentence.get(..subject.len()) else { continue };
        if !head.eq_ignore_ascii_case(subject) {
            continue;
        }
        let rest = &sentence[subject.len()..];
        if let Some(thing) = rest.strip_prefix("'s ") {
            return format!("my {}", thing.replacen(": ", " is ", 1));
        }
        if let Some(predicate) = rest.strip_prefix(' ') {
            return format!("I {}", without_third_person(predicate));
        }
    }
    sentence.to_owned()
}

fn strip_label<'a>(sentence: &'a str, label: &str) -> Option<&'a str> {
    let head = sentence.get(..label.len())?;
    head.eq_ignore_ascii_case(label).then(|| sentence[label.len()..].trim())
}

/// "really likes tea" → "really like tea".
fn without_third_person(predicate: &str) -> String {
    let words: Vec<&str> = predicate.split_whitespace().collect();
    let is_adverb = |word: &&str| word.ends_with("ly") || ["also", "just", "still", "now", "no"].contains(word);
    let verb_at = words.iter().take_while(|word| is_adverb(word) || **word == "longer").count();
    let put_in_first_person = |(at, word): (usize, &&str)| {
        if at == verb_at { first_person(word) } else { (*word).to_owned() }
    };
    words.iter().enumerate().map(put_in_first_person).collect::<Vec<_>>().join(" ")
}

fn first_person(verb: &str) -> String {
    match verb {
        "is" => "am".into(),
        "has" => "have".into(),
        "doesn't" => "don't".into(),
        "does" => "do".into(),
        "studies" => "study".into(),
        _ => verb.strip_suffix('s').unwrap_or(verb).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_on_the_user_become_statements() {
        for (note, said) in [
            ("The user likes pizza.", "I like pizza"),
            ("User's name is Alice", "my name is Alice"),
            ("Name: Alice", "my name is Alice"),
            ("The user's favorite color: blue", "my favorite color is blue"),
            ("user is from Oslo", "I am from Oslo"),
            ("The user really enjoys tea", "I really enjoy tea"),
            ("The user doesn't like rain", "I don't like rain"),
            ("Users like pizza", "Users like pizza"),
        ] {
            assert_eq!(in_first_person(note, None), said);
        }
        assert_eq!(in_first_person("Łukasz likes tea", Some("Łukasz")), "I like tea");
    }
}
