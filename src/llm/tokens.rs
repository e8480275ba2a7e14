//! Counts the tokens of a text.

/// Tokens of `text` in OpenAI's cl100k encoding. Other encodings differ by some percent, so budgets are approximate.
/// Newer encodings mostly need fewer tokens, but their larger vocabularies take twice the memory.
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
