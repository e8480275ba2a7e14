//! Words, sentences and the tagged blocks of a prompt.
//!
//! Patterns are ASCII and match [`fold`]ed text. Folding keeps every byte offset, so a match in the folded text gives
//! the range in the original.

/// A message, split into the blocks that the prompt has added and the rest.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parts<'a> {
    /// The contents of `<memories …>…</memories>` and similar tags.
    pub(super) blocks: Vec<&'a str>,
    pub(super) outside: String,
}

/// Substrings of tag names that mark a block of known facts, as opposed to the user's words.
const BLOCK_NAMES: [&str; 5] = ["context", "memor", "summar", "state", "history"];

pub(super) fn split_blocks(text: &str) -> Parts<'_> {
    let mut parts = Parts::default();
    let mut rest = text;
    while let Some((before, block, after)) = next_block(rest) {
        parts.outside.push_str(before);
        parts.blocks.push(block);
        rest = after;
    }
    parts.outside.push_str(rest);
    parts.outside = parts.outside.trim().to_owned();
    parts
}

fn next_block(text: &str) -> Option<(&str, &str, &str)> {
    let (start, name) = text.match_indices('<').find_map(|(start, _)| {
        let inside = &text[start + 1..];
        let name = &inside[..inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')?];
        BLOCK_NAMES.iter().any(|known| name.contains(known)).then_some((start, name))
    })?;
    let tag_end = start + text[start..].find('>')? + 1;
    let close = format!("</{name}>");
    let end = tag_end + text[tag_end..].find(&close)?;
    Some((&text[..start], &text[tag_end..end], &text[end + close.len()..]))
}

/// Replaces typographic quotation marks by straight ones, and decodes character references.
pub(super) fn plain(text: &str) -> String {
    let text = text.replace(['\u{2019}', '\u{2018}', '\u{02BC}'], "'").replace(['\u{201C}', '\u{201D}'], "\"");
    if !text.contains('&') {
        return text;
    }
    let text = text.replace("&#39;", "'").replace("&apos;", "'").replace("&quot;", "\"");
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Lowercases ASCII letters only, so that byte offsets stay the same.
pub(super) fn fold(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// A sentence without its punctuation at the end.
#[derive(Debug, PartialEq)]
pub(super) struct Sentence<'a> {
    pub(super) text: &'a str,
    pub(super) is_question: bool,
}

/// Splits at punctuation that ends a sentence and at line breaks, but not in `3.5` or after an initial (`J. Doe`).
pub(super) fn sentences(text: &str) -> Vec<Sentence<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, mark) in text.char_indices() {
        if is_sentence_end(text, at, mark) {
            push_sentence(&mut found, &text[start..at], mark);
            start = at + mark.len_utf8();
        }
    }
    push_sentence(&mut found, &text[start..], '.');
    found
}

fn is_sentence_end(text: &str, at: usize, mark: char) -> bool {
    match mark {
        '\n' | '。' | '？' | '！' => true,
        '.' | '!' | '?' => {
            let ends_a_word =
                text[at + 1..].chars().next().is_none_or(|next| next.is_whitespace() || "!?.\"')".contains(next));
            ends_a_word && !(mark == '.' && ends_in_initial(&text[..at]))
        }
        _ => false,
    }
}

fn ends_in_initial(text: &str) -> bool {
    let last_word = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let mut letters = last_word.chars();
    letters.next().is_some_and(char::is_uppercase) && letters.next().is_none() && last_word != "I"
}

fn push_sentence<'a>(found: &mut Vec<Sentence<'a>>, text: &'a str, mark: char) {
    let marked = matches!(mark, '?' | '？');
    let text = trim(text);
    if !text.is_empty() {
        found.push(Sentence { text, is_question: marked || opens_as_question(&fold(text)) });
    } else if let (true, Some(last)) = (marked, found.last_mut()) {
        // The second mark of "really!?" belongs to the sentence before it.
        last.is_question = true;
    }
}

/// Trims spaces and punctuation.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ".,;:!?*`~".contains(c))
}

const QUESTION_OPENERS: [&str; 27] = [
    "what", "what's", "whats", "who", "who's", "whose", "where", "when", "why", "how", "which", "do", "does", "did",
    "am", "is", "are", "was", "were", "can", "could", "would", "should", "will", "have", "tell", "remind",
];

fn opens_as_question(folded: &str) -> bool {
    let first = without_fillers(folded).split(' ').next().unwrap_or_default();
    QUESTION_OPENERS.contains(&first)
}

/// Opening words without a meaning of their own.
const FILLERS: [&str; 37] = [
    "hi there",
    "hello there",
    "hi",
    "hello",
    "hey",
    "good morning",
    "good evening",
    "well",
    "oh",
    "ok",
    "okay",
    "yes",
    "yeah",
    "no",
    "so",
    "and",
    "but",
    "also",
    "actually",
    "sorry",
    "please",
    "by the way",
    "btw",
    "fyi",
    "wait",
    "um",
    "correction",
    "from now on",
    "remember that",
    "remember",
    "note that",
    "i said",
    "i mean",
    "i meant",
    "you know",
    "just so you know",
    "now",
];

/// The text without its fillers, such as "Hi," and "Actually,".
pub(super) fn without_fillers(text: &str) -> &str {
    let mut rest = trim(text);
    'again: loop {
        for filler in FILLERS {
            if let Some(after) = strip_words(rest, filler) {
                rest = after;
                continue 'again;
            }
        }
        return rest;
    }
}

/// Strips whole words from the beginning, in any case; `None` if the text does not begin with them, or if nothing
/// follows.
pub(super) fn strip_words<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let head = text.get(..words.len())?;
    let rest = &text[words.len()..];
    if !head.eq_ignore_ascii_case(words) || rest.starts_with(|c: char| c.is_alphanumeric() || c == '\'' || c == '-') {
        return None;
    }
    let rest = trim(rest);
    (!rest.is_empty()).then_some(rest)
}

/// Joints after which a new statement or question may begin within a sentence.
const JOINTS: [&str; 5] = [", and ", " and ", ", but ", " but ", ", "];

/// Openings of a clause that can stand alone.
const OPENERS: [&str; 16] = [
    "i ",
    "i'm ",
    "my ",
    "call me ",
    "you can call me ",
    "actually ",
    "please call me ",
    "what ",
    "what's ",
    "who ",
    "can you ",
    "could you ",
    "do you ",
    "where ",
    "how ",
    "please remember",
];

/// The clauses of a sentence that can stand alone: "I'm Ann and I like tea" has two, "I like tea and cake" has one.
pub(super) fn clauses(sentence: &str) -> Vec<&str> {
    let folded = fold(sentence);
    let mut found = Vec::new();
    let mut start = 0;
    for (at, _) in folded.char_indices().filter(|(_, c)| *c == ' ' || *c == ',') {
        let Some(joint) = JOINTS.iter().find(|joint| folded[at..].starts_with(**joint)) else { continue };
        let next = at + joint.len();
        if at >= start && OPENERS.iter().any(|opener| folded[next..].starts_with(opener)) {
            found.push(trim(&sentence[start..at]));
            start = next;
        }
    }
    found.push(trim(&sentence[start..]));
    found
}

/// A quotation of at most `longest` characters.
pub(super) fn quote(text: &str, longest: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= longest {
        return format!("“{text}”");
    }
    let cut: String = text.chars().take(longest).collect();
    format!("“{}…”", cut.trim_end())
}

/// "tea", "tea and cake", "tea, cake and jam".
pub(super) fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn sentences_end_at_marks_but_not_within_numbers_and_initials() {
        assert_eq!(texts("I'm J. Doe. I pay 3.5 a day!\nOk"), ["I'm J. Doe", "I pay 3.5 a day", "Ok"]);
        assert_eq!(texts("So do I. Yes"), ["So do I", "Yes"]);
        assert_eq!(texts("  ...  "), Vec::<&str>::new());
    }

    #[test]
    fn questions_are_known_by_mark_or_first_word() {
        let is_question = |text| sentences(text)[0].is_question;
        assert!(is_question("I like pizza?"));
        assert!(is_question("Really!?"));
        assert!(is_question("Hey, what is my name"));
        assert!(!is_question("I know what I like."));
    }

    #[test]
    fn clauses_are_split_where_a_new_statement_begins() {
        assert_eq!(
            clauses("I'm Ann and I like tea and cake, but my cat hates it"),
            ["I'm Ann", "I like tea and cake", "my cat hates it"]
        );
        assert_eq!(clauses("I like pizza, especially margherita"), ["I like pizza, especially margherita"]);
    }

    #[test]
    fn blocks_are_told_from_what_was_said() {
        let text = "<memories note=\"data\">\n- a\n</memories>\nHello <b>you</b>";
        assert_eq!(split_blocks(text), Parts { blocks: vec!["\n- a\n"], outside: "Hello <b>you</b>".into() });
        assert_eq!(split_blocks("<memories> unclosed").outside, "<memories> unclosed");
    }

    #[test]
    fn words_are_stripped_whole_and_in_any_case() {
        assert_eq!(strip_words("My Name is Łukasz", "my name is"), Some("Łukasz"));
        assert_eq!(strip_words("my names", "my name"), None);
        assert_eq!(without_fillers("Hi, actually: call me Bob"), "call me Bob");
    }
}
