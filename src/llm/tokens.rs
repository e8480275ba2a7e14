//! Counts the tokens of a text.
//!
//! A text is split into pieces, about a word each, and `merging` merges the bytes of a piece to the tokens that
//! `vocabulary` has.

mod merging;
mod vocabulary;

use std::sync::LazyLock;

use regex::Regex;

use self::vocabulary::Vocabulary;

/// The pieces of cl100k: contractions, words with one character before them, numbers of up to three digits, signs, line
/// breaks, and other white space.
static PIECE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)\A(?:
            (?i:'s|'t|'re|'ve|'m|'ll|'d)
            | [^\r\n\p{L}\p{N}]?\p{L}+
            | \p{N}{1,3}
            | [\ ]?[^\s\p{L}\p{N}]+[\r\n]*
            | \s*[\r\n]+
            | \s+
        )",
    )
    .unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
});

/// Tokens of `text` in OpenAI's cl100k encoding. Other encodings differ by some percent, so budgets are approximate.
/// Newer encodings mostly need fewer tokens, but their larger vocabularies take twice the memory.
pub fn count_tokens(text: &str) -> usize {
    let vocabulary = Vocabulary::get();
    let mut rest = text;
    let mut tokens = 0;
    while let Some(piece) = next_piece(rest) {
        tokens += merging::count(vocabulary, piece.as_bytes());
        rest = &rest[piece.len()..];
    }
    tokens
}

fn next_piece(text: &str) -> Option<&str> {
    let piece = PIECE.find(text)?.as_str();
    let (at, last) = piece.char_indices().next_back()?;
    // White space leaves its last character to the piece that follows, unless it is a line break.
    let is_left = at > 0 && last.is_whitespace() && !matches!(last, '\r' | '\n') && piece.len() < text.len();
    Some(if is_left { &piece[..at] } else { piece })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn original(text: &str) -> usize {
        bpe_openai::cl100k_base().count(text)
    }

    #[test]
    fn the_vocabulary_is_the_original_one() {
        let original = &bpe_openai::cl100k_base().bpe;
        assert_eq!(vocabulary::places().count(), original.num_tokens());
        for (rank, place) in (0..).zip(vocabulary::places()) {
            assert_eq!(vocabulary::token(place), original.token_bytes(rank));
            assert_eq!(Vocabulary::get().find(vocabulary::token(place)), Some(place));
        }
    }

    #[test]
    fn texts_have_as_many_tokens_as_in_the_original() {
        for text in [
            "",
            "Hello, world!",
            "Ünïcödé 🦀",
            "I'll say it's 'quoted', isn't it? WE'LL SEE; don'T.",
            "Donaudampfschifffahrtsgesellschaftskapitän, größer als 12345678,90 €.",
            "人工智能正在改变世界。他说：“你好！”",
            "吾輩は猫である。名前はまだ無い。カタカナも、ﾊﾝｶｸも。",
            "안녕하세요, 세계! Привет, мир! مرحبا بالعالم שלום नमस्ते",
            "fn main() {\n    let x = vec![1, 2, 3];\r\n\tprintln!(\"{x:?}\");\n}\n\n\n",
            "   leading, trailing   ",
            "\n\n  \n \t x \u{a0}\u{3000} y\u{2028}z \r\n",
            "1 12 123 1234 १२३४ ½Ⅻ",
            "<|endoftext|>",
        ] {
            assert_eq!(count_tokens(text), original(text), "{text:?}");
        }
        let source = include_str!("tokens.rs");
        assert_eq!(count_tokens(source), original(source));
    }

    #[test]
    fn long_pieces_are_counted_in_time() {
        for piece in ["a", "ab", "xyzzy", "=-", "漢", " ", "\n", "é"] {
            let text = piece.repeat(60_000 / piece.len());
            assert_eq!(count_tokens(&text), original(&text), "{piece:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn any_text_has_as_many_tokens_as_in_the_original(
            text in r"(\PC|[ \t\r\n]|[a-z]|'(s|ll|RE|d)|[\x00-\x1f\u{85}\u{a0}\u{2028}\u{3000}]){0,80}",
        ) {
            prop_assert_eq!(count_tokens(&text), original(&text));
        }
    }
}
