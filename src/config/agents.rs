//! Settings of agents.

use serde::Deserialize;

use super::{AgentMemorySettings, HistoryOverrides, RetentionSettings, SummarySettings};

/// One agent. The switches have the same names as in Agno.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the settings file")]
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The path segment in `/agents/{id}`.
    pub id: String,
    /// The display name. Default: the id.
    pub name: Option<String>,
    pub description: Option<String>,
    /// Instructions to the model: its role and its tasks.
    pub instructions: Option<String>,
    /// A name from `[models]`. Default: the only declared model, or the one detected at start.
    pub model: Option<String>,
    /// The session for runs that name none. Default: each of these runs begins a new session.
    pub session_id: Option<String>,
    pub add_history_to_context: bool,
    /// How many finished runs of the session go into the prompt, at most 1,000.
    pub num_history_runs: u32,
    /// Overrides of `[history]`, each limit separately.
    pub history: HistoryOverrides,
    /// Keeps a rolling summary of each session.
    pub enable_session_summaries: bool,
    /// Adds the summary to the prompt. The history is then limited to the runs after the summary. Default:
    /// `enable_session_summaries`.
    pub add_session_summary_to_context: Option<bool>,
    pub session_summary: SummarySettings,
    /// Lets the model name a session, after its first run, unless its user has named it.
    pub auto_title: bool,
    pub update_memory_on_run: bool,
    /// Default: true if `update_memory_on_run` or `enable_agentic_memory` is true.
    pub add_memories_to_context: Option<bool>,
    /// Gives the model the tools `search_memories`, `remember` and `forget`. This switches off `update_memory_on_run`.
    pub enable_agentic_memory: bool,
    /// Gives the model the tool `search_past_sessions`.
    pub search_past_sessions: bool,
    /// What the agent learns about users, and with which model.
    pub memory: AgentMemorySettings,
    /// The initial state of a new session.
    pub session_state: serde_json::Map<String, serde_json::Value>,
    pub add_session_state_to_context: bool,
    /// Gives the model the tool `update_session_state`.
    pub enable_agentic_state: bool,
    /// Gives the model the tool `get_chat_history`.
    pub read_chat_history: bool,
    /// After this many tool calls in a run the model gets no tools any more and has to answer.
    pub tool_call_limit: u32,
    /// Retention of the sessions that began with this agent. Default: `[retention]`.
    pub retention: Option<RetentionSettings>,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: None,
            description: None,
            instructions: None,
            model: None,
            session_id: None,
            add_history_to_context: true,
            num_history_runs: 3,
            history: HistoryOverrides::default(),
            enable_session_summaries: false,
            add_session_summary_to_context: None,
            session_summary: SummarySettings::default(),
            auto_title: false,
            update_memory_on_run: false,
            add_memories_to_context: None,
            enable_agentic_memory: false,
            search_past_sessions: false,
            memory: AgentMemorySettings::default(),
            session_state: serde_json::Map::new(),
            add_session_state_to_context: false,
            enable_agentic_state: false,
            read_chat_history: false,
            tool_call_limit: 20,
            retention: None,
        }
    }
}
