//! What the model sees: the agent's instructions, then the session's summary and history, then what changes every turn
//! beside the message.
//!
//! `options` selects the parts, `budget` makes them fit, `text` delimits and escapes stored text.
//!
//! *Architecture Invariant:* between two folds a prompt changes only at its end, so that its prefix stays in the
//! provider's prompt cache. The context beside an earlier message is not repeated.

mod budget;
mod options;
pub mod store;
mod text;

use serde_json::{Map, Value};

use crate::{
    agents::Agent,
    llm::PromptMessage,
    memories::recall::Recalled,
    model::{ContextRecord, Message, Role, TokensByPart},
};

use self::budget::TOKENS_PER_MESSAGE;
pub use self::budget::{shorten, tokens_of, tokens_of_messages, tokens_of_text, whole_or_reduced};
pub use self::options::ContextOptions;
pub use self::text::escape;

/// The stored past of a session before a run, as far as the prompt needs it.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub summary: Option<PastSummary>,
    /// Completed runs, oldest first.
    pub runs: Vec<PastRun>,
    /// Number of further runs, which were not read because they would not fit.
    pub runs_left_out: usize,
    /// Tokens and number of all completed runs after the summary.
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
    /// The agent's instructions only: never what users have said, nor anything derived from it.
    pub system: Option<String>,
    pub summary: Option<String>,
    pub history: History,
    pub user: String,
    /// The tokens of the user's message as later prompts have it: whole, and without what is beside it.
    pub tokens_of_question: usize,
    pub record: ContextRecord,
    /// Tokens and number of the completed runs after the summary, before this run.
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
        let shown = shorten(message, options.limits.max_message_tokens as usize);
        record.tokens.message = tokens_of(&shown);
        let tokens_of_question =
            if shown == message { TOKENS_PER_MESSAGE + record.tokens.message } else { tokens_of_text(message) };
        record.tokens.instructions = agent.instruction_tokens;
        record.tokens.summary = summary.as_deref().map_or(0, tokens_of);
        Self {
            system: agent.instructions.clone(),
            summary,
            history: History::new(messages),
            user: text::beside(&blocks, &shown),
            tokens_of_question,
            record,
            unfolded_tokens: past.unfolded_tokens,
            unfolded_runs: past.unfolded_runs,
        }
    }

    pub fn prompt(&self) -> Vec<PromptMessage> {
        let history = self.history.messages().filter_map(replay);
        let mut prompt: Vec<_> = history.chain([PromptMessage::User(self.user.clone())]).collect();
        if let Some(summary) = &self.summary {
            // Merged into the user's first message, because some models refuse two messages of one role in a row.
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
