//! The line of a memory in a prompt.

use crate::{llm, model::memory::Brief};

/// Tokens of a line beside its text. Stored token counts include them.
const LINE_TOKENS: usize = 3;

/// The line and its tokens.
pub(super) fn of(brief: &Brief) -> (String, usize) {
    let line = line(&brief.memory);
    let tokens = brief.tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or_else(|| count(&line));
    (line, tokens)
}

/// The tokens of a memory's line.
pub(super) fn tokens_of(memory: &str) -> i32 {
    i32::try_from(count(&line(memory))).unwrap_or(i32::MAX)
}

fn count(line: &str) -> usize {
    llm::count_tokens(line) + LINE_TOKENS
}

fn line(memory: &str) -> String {
    format!("- {}", one_line(memory))
}

/// Stored text is data: it can neither close the block around it nor begin another line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('<', "&lt;")
}
