//! How much of a prompt a text takes.

/// Tokens of `text` in OpenAI's o200k encoding. Other providers' encodings differ by some percent, so budgets made with
/// this are close, not exact.
pub fn count_tokens(text: &str) -> usize {
    bpe_openai::o200k_base().count(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_fewer_than_characters() {
        assert_eq!(count_tokens(""), 0);
        assert_eq!(count_tokens("Hello, world!"), 4);
        assert!(count_tokens("Ünïcödé 🦀") >= 4);
    }
}
