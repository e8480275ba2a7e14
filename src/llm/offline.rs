//! The built-in model: rules instead of a language model, so that the server answers without network or key.
//!
//! It knows only what is in the request: the user's messages (parsed by `facts.rs`), and memories and summaries about
//! the user. `answers.rs` replies to questions that can be answered from these, `tools.rs` calls an offered tool in
//! obvious cases, `summary.rs` summarizes, `learning.rs` extracts memories, and `text.rs` splits text into words and
//! sentences. It is deterministic.
//!
//! *Architecture Invariant:* it never states anything about the user that the context does not say, and does not learn
//! from its own earlier replies.

mod answers;
mod facts;
mod learning;
mod summary;
mod text;
mod tools;

use std::time::{Duration, Instant};

use self::facts::Facts;
use super::{ModelReply, ModelRequest, PromptMessage};
use crate::model::{ModelInfo, ToolCall, Usage};

pub(super) fn info() -> ModelInfo {
    ModelInfo { id: "offline".into(), provider: "offline".into() }
}

pub(super) fn complete(request: &ModelRequest) -> ModelReply {
    let started = Instant::now();
    let turn = take_turn(request);
    let duration = started.elapsed();
    reply(request, turn, duration, duration)
}

/// Passes the answer on word by word, as a provider's stream would.
pub(super) fn stream(request: &ModelRequest, on_delta: &mut dyn FnMut(&str)) -> ModelReply {
    let started = Instant::now();
    let turn = take_turn(request);
    let first_piece = started.elapsed();
    if let Turn::Say(answer) = &turn {
        answer.split_inclusive(' ').for_each(on_delta);
    }
    reply(request, turn, first_piece, started.elapsed())
}

/// The model's action: text or a tool call.
#[derive(Debug)]
enum Turn {
    Say(String),
    Call(ToolCall),
}

fn take_turn(request: &ModelRequest) -> Turn {
    if let Some(written) = summary::write(request) {
        return Turn::Say(written);
    }
    if request.response.as_ref().is_some_and(|response| response.name == learning::RESPONSE_NAME) {
        return Turn::Say(learning::operations(request));
    }
    if request.response.as_ref().is_some_and(|response| response.name == learning::MERGES_NAME) {
        return Turn::Say(learning::no_merges());
    }
    let conversation = Conversation::read(request);
    if let Some(PromptMessage::Tool { name, content, .. }) = request.messages.last() {
        return Turn::Say(tools::report_result(request, &conversation, name, content));
    }
    match tools::choose(request, &conversation) {
        Some(call) => Turn::Call(call),
        None => Turn::Say(answers::answer(&conversation)),
    }
}

/// The request as this model sees it: the user's own words in order, without the context that the prompt adds.
#[derive(Debug)]
struct Conversation {
    /// The user's earlier messages, oldest first.
    earlier: Vec<String>,
    /// The message to be answered.
    current: String,
    last_reply: Option<String>,
    known_before: Facts,
    known: Facts,
}

impl Conversation {
    fn read(request: &ModelRequest) -> Self {
        let mut known = Facts::default();
        let mut said = Vec::new();
        let mut last_reply = None;
        for note in request.system.iter().flat_map(|system| text::split_blocks(system).blocks) {
            known.learn_from_notes(note);
        }
        for message in &request.messages {
            match message {
                PromptMessage::User(content) => {
                    let parts = text::split_blocks(content);
                    parts.blocks.into_iter().for_each(|note| known.learn_from_notes(note));
                    said.push(parts.outside);
                }
                PromptMessage::Assistant { content: Some(content), .. } => last_reply = Some(content.clone()),
                PromptMessage::Assistant { .. } | PromptMessage::Tool { .. } => {}
            }
        }
        let current = said.pop().unwrap_or_default();
        for message in &said {
            known.learn_from_user(message);
        }
        let known_before = known.clone();
        known.learn_from_user(&current);
        Self { earlier: said, current, last_reply, known_before, known }
    }
}

fn reply(request: &ModelRequest, turn: Turn, time_to_first_token: Duration, duration: Duration) -> ModelReply {
    let (content, tool_calls) = match turn {
        Turn::Say(answer) => (Some(answer), Vec::new()),
        Turn::Call(call) => (None, vec![call]),
    };
    let input_tokens = tokens(request_chars(request));
    let calls = tool_calls.iter().map(call_chars).sum::<usize>();
    let output_tokens = tokens(content.as_deref().map_or(0, chars) + calls);
    ModelReply {
        content,
        reasoning: None,
        tool_calls,
        usage: Usage { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens, ..Usage::default() },
        model: info(),
        response_id: None,
        time_to_first_token,
        duration,
    }
}

/// Rule of thumb for English: four characters per token.
fn tokens(chars: usize) -> i64 {
    i64::try_from(chars.div_ceil(4)).unwrap_or(i64::MAX)
}

fn request_chars(request: &ModelRequest) -> usize {
    let messages = request.messages.iter().map(|message| match message {
        PromptMessage::User(content) | PromptMessage::Tool { content, .. } => chars(content),
        PromptMessage::Assistant { content, tool_calls } => {
            content.as_deref().map_or(0, chars) + tool_calls.iter().map(call_chars).sum::<usize>()
        }
    });
    request.system.as_deref().map_or(0, chars) + messages.sum::<usize>()
}

fn call_chars(call: &ToolCall) -> usize {
    chars(&call.name) + chars(&call.arguments.to_string())
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests;
