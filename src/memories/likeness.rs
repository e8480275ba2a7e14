//! Near-duplicate detection of memories.
//!
//! Similarity alone would merge contradictions: "is 29" and "is 30", or "is vegetarian" and "is no longer vegetarian",
//! are more alike than most true duplicates. So numbers, names and negations must match too.

use std::collections::BTreeSet;

/// Minimum overlap (Jaccard index) of the words of two texts.
const ENOUGH: f64 = 0.85;

/// Words that negate a statement, or say that it has ended or begun.
const TURNS: [&str; 24] = [
    "not", "no", "never", "none", "without", "cannot", "can't", "don't", "doesn't", "didn't", "isn't", "aren't",
    "wasn't", "won't", "wouldn't", "longer", "anymore", "stopped", "quit", "former", "formerly", "used", "instead",
    "except",
];

/// Whether two texts with this overlap of their words are duplicates: numbers, names and negations must be equal.
pub(super) fn is_duplicate(one: &str, other: &str, overlap: f64) -> bool {
    overlap >= ENOUGH && markers(one) == markers(other)
}

/// The words that must be equal in both texts.
fn markers(text: &str) -> BTreeSet<String> {
    let text = text.replace('\u{2019}', "'");
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty());
    words
        .enumerate()
        .filter(|(at, word)| {
            let is_name = *at > 0 && word.chars().next().is_some_and(char::is_uppercase);
            // In a script without spaces, a "word" is a whole sentence, and one character can negate it.
            is_name
                || word.chars().any(|c| c.is_ascii_digit() || is_unspaced(c))
                || TURNS.contains(&word.to_lowercase().as_str())
        })
        .map(|(_, word)| word.trim_end_matches("'s").to_lowercase())
        // "The user" and "I" are the same person.
        .filter(|word| word != "user" && word != "i")
        .collect()
}

/// Whether the script is written without spaces; the ranges of the database function `search_text`.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_negations_make_a_difference() {
        for (one, other) in [
            ("The user is 29 years old", "The user is 30 years old"),
            ("The user is vegetarian", "The user is no longer vegetarian"),
            ("The user's sister Ann lives near Oslo in Norway", "The user's sister Eva lives near Oslo in Norway"),
            ("用户喜欢在周末和家人一起去公园散步", "用户不喜欢在周末和家人一起去公园散步"),
            ("The user likes red wine", "The user doesn't like red wine"),
        ] {
            assert!(!is_duplicate(one, other, 0.95), "{one} / {other}");
        }
    }

    #[test]
    fn the_same_in_other_order_is_a_duplicate() {
        assert!(is_duplicate("User's name is Alice", "The user's name is Alice.", 1.0));
        assert!(is_duplicate("Lives in Oslo with two cats", "The user lives with two cats in Oslo", 0.9));
        assert!(!is_duplicate("Likes tea", "Likes coffee", 0.4));
    }
}
