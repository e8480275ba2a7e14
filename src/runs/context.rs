//! What the model sees: the agent's instructions, then the session's summary and history, then what changes every turn
//! beside the message.
//!
//! `options` says which parts there are, `budget` what fits, `text` how stored text stands in a prompt, and `view` shows
//! it all without calling a model.
//!
//! *Architecture Invariant:* between two folds the prompt changes at its end only, so that a provider's prompt cache
//! finds its beginning again. What stood beside an earlier message is not repeated.

mod budget;
mod options;
mod text;
pub mod view;

use serde_json::{Map, Value};

use super::model::{ContextRecord, Message, Role, TokensByPart};
use crate::{agents::Agent, llm::PromptMessage, memories::recall::Recalled};

pub use budget::{shorten, tokens_of, tokens_of_messages, tokens_of_text, whole_or_reduced};
pub use options::{ContextOptions, Window};
pub use text::escape;

/// What is stored of a session before a run, as far as its prompt needs it.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub summary: Option<PastSummary>,
    /// Completed runs, oldest first.
    pub runs: Vec<PastRun>,
    /// How many more there are that were not read, because they would not fit.
    pub runs_left_out: usize,
    /// Tokens of all completed runs after the summary, and how many these are.
    pub unfolded_tokens: i64,
    pub unfolded_runs: i64,
}

#[derive(Clone, Debug)]
pub struct PastSummary {
    /// It covers all runs up to this one.
    pub through_seq: i64,
    pub text: String,
    pub topics: Vec<String>,
}

/// A run with all its messages: a tool call always has its result.
#[derive(Clone, Debug)]
pub struct PastRun {
    pub seq: i64,
    pub tokens: usize,
    pub messages: Vec<Message>,
}

/// The messages of earlier runs, oldest first, whole runs only.
#[derive(Clone, Debug, Default)]
pub struct History {
    messages: Vec<(i64, Message)>,
}

impl History {
    /// From messages with the numbers of their runs, in order.
    pub fn new(messages: Vec<(i64, Message)>) -> Self {
        Self { messages }
    }

    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().map(|(_, message)| message)
    }

    pub fn into_messages(self) -> impl Iterator<Item = Message> {
        self.messages.into_iter().map(|(_, message)| message)
    }
}

/// A prompt in parts, in the order in which the model sees them.
#[derive(Debug)]
pub struct Context {
    /// The agent's own words alone: what users have said has no business here, nor has what was made of it.
    pub system: Option<String>,
    pub summary: Option<String>,
    pub history: History,
    pub user: String,
    pub record: ContextRecord,
    /// Tokens of the completed runs after the summary, before this run, and how many these are.
    pub unfolded_tokens: i64,
    pub unfolded_runs: i64,
}

impl Context {
    pub fn new(
        agent: &Agent,
        options: ContextOptions,
        past: Past,
        recalled: Recalled,
        state: &Map<String, Value>,
        message: &str,
    ) -> Self {
        let mut record = ContextRecord { window: options.window(), ..ContextRecord::default() };
        let summary = past.summary.filter(|_| options.add_summary);
        record.summary_through = summary.as_ref().map(|summary| summary.through_seq);
        let summary = summary.map(|summary| text::summary_block(&summary.text, &summary.topics));

        let (runs, left_out) = budget::fit(past.runs, &options.limits);
        record.runs_left_out = past.runs_left_out + left_out;
        record.first_history_seq = runs.first().map(|run| run.seq);
        record.history_runs = runs.len();
        record.tokens.history = runs.iter().map(|run| run.tokens).sum();
        let messages: Vec<(i64, Message)> =
            runs.into_iter().flat_map(|run| run.messages.into_iter().map(move |message| (run.seq, message))).collect();
        record.history_messages = messages.len();

        let mut blocks = Vec::new();
        if let Some(block) = recalled.block {
            record.tokens.memories = recalled.tokens;
            blocks.push(block);
        }
        record.memories = recalled.memories;
        if options.add_session_state && !state.is_empty() {
            let block = text::state_block(state);
            record.tokens.session_state = tokens_of(&block);
            blocks.push(block);
        }
        let message = shorten(message, options.limits.max_message_tokens as usize);
        record.tokens.message = tokens_of(&message);
        record.tokens.instructions = agent.instruction_tokens;
        record.tokens.summary = summary.as_deref().map_or(0, tokens_of);
        Self {
            system: agent.instructions.clone(),
            summary,
            history: History::new(messages),
            user: text::beside(&blocks, &message),
            record,
            unfolded_tokens: past.unfolded_tokens,
            unfolded_runs: past.unfolded_runs,
        }
    }

    pub fn prompt(&self) -> Vec<PromptMessage> {
        let history = self.history.messages().filter_map(replay);
        let mut prompt: Vec<_> = history.chain([PromptMessage::User(self.user.clone())]).collect();
        if let Some(summary) = &self.summary {
            // Before the first thing that the user says: two messages of one role in a row are refused by some models.
            match &mut prompt[0] {
                PromptMessage::User(said) => *said = format!("{summary}\n\n{said}"),
                _ => prompt.insert(0, PromptMessage::User(summary.clone())),
            }
        }
        prompt
    }
}

impl TokensByPart {
    pub fn total(&self) -> usize {
        self.instructions + self.summary + self.history + self.memories + self.session_state + self.message
    }
}

/// A stored message as the model sees it again.
pub fn replay(message: &Message) -> Option<PromptMessage> {
    match message.role {
        Role::System | Role::Newer(_) => None,
        Role::User => Some(PromptMessage::User(message.content.clone().unwrap_or_default())),
        Role::Assistant => Some(PromptMessage::Assistant {
            content: message.content.clone(),
            tool_calls: message.tool_calls.clone().unwrap_or_default(),
        }),
        Role::Tool => message.answers.as_ref().map(|call| PromptMessage::Tool {
            call_id: call.tool_call_id.clone(),
            name: call.tool_name.clone(),
            content: message.content.clone().unwrap_or_default(),
        }),
    }
}
