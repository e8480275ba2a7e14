//! Detects what must not be stored: card numbers, keys, passwords.

/// The kind of secret that a text seems to contain, as a phrase for the error message.
pub(super) fn find(text: &str) -> Option<&'static str> {
    if has_card_number(text) {
        return Some("a card number");
    }
    if has_key(text) {
        return Some("a key");
    }
    has_password(text).then_some("a password")
}

/// 13 to 19 digits, with single spaces or dashes between them and a valid check digit.
fn has_card_number(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        if !characters[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let mut digits = Vec::new();
        while let Some(c) = characters.get(at) {
            if let Some(digit) = c.to_digit(10) {
                digits.push(digit);
            } else if !(matches!(c, ' ' | '-') && characters.get(at + 1).is_some_and(char::is_ascii_digit)) {
                break;
            }
            at += 1;
        }
        if (13..=19).contains(&digits.len()) && passes_luhn(&digits) {
            return true;
        }
        at += 1;
    }
    false
}

/// The Luhn check of ISO/IEC 7812-1. All zeros would pass it, but are no card number.
fn passes_luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match digit * 2 {
            _ if at % 2 == 0 => *digit,
            doubled if doubled > 9 => doubled - 9,
            doubled => doubled,
        })
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

/// Prefixes of the keys of well-known services.
const KEY_PREFIXES: [&str; 13] = [
    "sk-",
    "pk_live_",
    "sk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "eyJhbGci",
];
/// A word with letters and digits that is at least this long, in bytes, is taken for a key, unless it looks like a
/// path.
const LONGEST_WORD: usize = 32;

fn has_key(text: &str) -> bool {
    if text.contains("-----BEGIN ") && text.contains("KEY-----") {
        return true;
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-+/=.".contains(c);
    text.split(|c: char| !is_part(c)).any(|word| {
        let has = |is_kind: fn(&char) -> bool| word.chars().any(|c| is_kind(&c));
        let has_digit = has(char::is_ascii_digit);
        let is_known = word.len() >= 16 && KEY_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        let is_path = word.contains('/') || word.matches(['.', '-']).count() > 3;
        let is_random = word.len() >= LONGEST_WORD && has_digit && has(char::is_ascii_alphabetic) && !is_path;
        is_known || is_random
    })
}

const PASSWORD_WORDS: [&str; 11] = [
    "password",
    "passwort",
    "passphrase",
    "passcode",
    "pass code",
    "pin code",
    "pin number",
    "api key",
    "secret key",
    "access token",
    "cvv",
];

/// A word for "password", followed or preceded by a value.
fn has_password(text: &str) -> bool {
    let folded = text.to_ascii_lowercase();
    let words: Vec<&str> = folded.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', ':'])).collect();
    if (0..words.len()).any(|at| is_password_at(&words, at)) {
        return true;
    }
    PASSWORD_WORDS.iter().any(|word| {
        folded.match_indices(word).any(|(at, _)| {
            let rest = folded[at + word.len()..].trim_start();
            let value = [":", "=", "is ", "was ", "to ", "ist "].iter().find_map(|joint| rest.strip_prefix(joint));
            let value = value.map(|value| value.split_whitespace().next().unwrap_or_default());
            value.is_some_and(looks_like_a_password)
        })
    })
}

/// "hunter2 as my password", "the password of the user is hunter2", "PIN 1234".
fn is_password_at(words: &[&str], at: usize) -> bool {
    let is_pin = |word: &&str| (4..=8).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut after = words[at + 1..].iter().copied();
    match words[at] {
        "pin" => after.find(|word| !matches!(*word, "is" | "code" | "number" | "=")).as_ref().is_some_and(is_pin),
        "password" | "passwort" | "passcode" | "passphrase" => {
            let as_at = words[..at].iter().rposition(|word| *word == "as").filter(|as_at| at - as_at <= 2);
            let before = as_at.and_then(|as_at| words.get(as_at.checked_sub(1)?));
            let is_before = before.is_some_and(|word| looks_like_a_password(word));
            let is_after = after.next() == Some("of")
                && after.by_ref().take(4).any(|word| word == "is")
                && after.next().is_some_and(looks_like_a_password);
            is_before || is_after
        }
        _ => false,
    }
}

/// Distinguishes a value from the next word of a sentence, as in "the password is forgotten".
fn looks_like_a_password(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ',', '!']);
    let is_quoted = value.starts_with(['"', '\'', '`']);
    value.len() >= 3 && (is_quoted || value.chars().any(|c| !c.is_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found() {
        for (text, what) in [
            ("The user's card is 4111 1111 1111 1111", "a card number"),
            ("Pays with 5500-0000-0000-0004.", "a card number"),
            ("Uses sk-proj-abcdefghijklmnop for work", "a key"),
            ("token 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "a key"),
            ("-----BEGIN RSA PRIVATE KEY----- MIIB", "a key"),
            ("The user's wifi password is hunter2!", "a password"),
            ("API key: abc123", "a password"),
            ("The user likes hunter2 as my password.", "a password"),
            ("The password of the user is hunter2", "a password"),
            ("The user lives in a house, PIN 1234.", "a password"),
            ("The pin is 0042", "a password"),
        ] {
            assert_eq!(find(text), Some(what), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_kept() {
        for text in [
            "The user's phone number is 4711 123 456",
            "Order 4111111111111112 was late",
            "The user forgot their password and is annoyed",
            "The user's password is always forgotten",
            "The user is known as the password manager",
            "The user collects pin badges, 1200 of them",
            "As a password of choice is no good, the user uses passkeys",
            "Reads https://example.com/2024/05/a-very-long-title-with-many-words-in-it-3",
            "The user runs 10 km every Tuesday at 7:30",
            "Donaudampfschifffahrtsgesellschaftskapitän",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
