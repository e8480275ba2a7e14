//! How much of a prompt a text takes.

/// Tokens of `text` in OpenAI's cl100k encoding. Other encodings differ by some percent, so budgets made with this are
/// close, not exact; newer ones, which know more words, mostly need fewer and take twice the memory to hold.
pub fn count_tokens(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
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
