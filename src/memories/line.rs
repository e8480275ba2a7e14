//! How a memory stands in a prompt.

use super::model::MemoryId;
use crate::llm;

/// What a line takes beside its text, in tokens. What is stored was counted with it.
const LINE_TOKENS: usize = 3;

/// A memory as far as a prompt needs it.
#[derive(Clone, Debug)]
pub struct Brief {
    pub memory_id: MemoryId,
    pub memory: String,
    /// Absent: it was not counted when it was stored.
    pub tokens: Option<i32>,
}

impl Brief {
    /// The line, and what it takes.
    pub(super) fn line(&self) -> (String, usize) {
        let line = line(&self.memory);
        let tokens = self.tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or_else(|| count(&line));
        (line, tokens)
    }
}

/// What the line of a memory takes.
pub(super) fn tokens_of(memory: &str) -> i32 {
    i32::try_from(count(&line(memory))).unwrap_or(i32::MAX)
}

fn count(line: &str) -> usize {
    llm::count_tokens(line) + LINE_TOKENS
}

fn line(memory: &str) -> String {
    format!("- {}", one_line(memory))
}

/// Stored text is data: it cannot close the block that it stands in, nor begin another line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('<', "&lt;")
}
