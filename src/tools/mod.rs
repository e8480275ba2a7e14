//! Tools that a model may call. Each is enabled per agent; the names are those of AgentOS.
//!
//! *Architecture Invariant:* a tool sees the session of its run and the data of the same user, and nothing else. Its
//! changes take effect when the run settles. A tool that fails reports the error to the model; it never ends the run.

mod chat_history;
mod memory;
mod past_sessions;
mod session_state;

use serde_json::{Map, Value};

use crate::{
    app::App,
    config::AgentSettings,
    llm::ToolSpec,
    memories::change::Change,
    model::{Claim, Error, ToolCall, UserId, state},
};

/// The tools of one run, and the state that they work on.
#[derive(Debug)]
pub struct Toolbox<'a> {
    enabled: Vec<Tool>,
    app: &'a App,
    claim: &'a Claim,
    /// Whose memories and past sessions the tools see. `None` disables the tools that need a user.
    user: Option<&'a UserId>,
    /// The session's state as this run sees it.
    state: Map<String, Value>,
    /// The RFC 7396 merge patches of this run, in order.
    patches: Vec<Map<String, Value>>,
    /// The requested changes of the user's memories, in order.
    memories: Vec<Change>,
}

/// The changes to apply when the run settles.
#[derive(Debug, Default)]
pub struct Wishes {
    pub patches: Vec<Map<String, Value>>,
    pub memories: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    ChatHistory,
    SessionState,
    SearchMemories,
    Remember,
    Forget,
    PastSessions,
}

impl Tool {
    fn spec(self) -> ToolSpec {
        match self {
            Self::ChatHistory => chat_history::spec(),
            Self::SessionState => session_state::spec(),
            Self::SearchMemories => memory::search_spec(),
            Self::Remember => memory::remember_spec(),
            Self::Forget => memory::forget_spec(),
            Self::PastSessions => past_sessions::spec(),
        }
    }

    /// Whether the tool is disabled without a user.
    fn needs_user(self) -> bool {
        match self {
            Self::ChatHistory | Self::SessionState => false,
            Self::SearchMemories | Self::Remember | Self::Forget | Self::PastSessions => true,
        }
    }
}

/// The tools that an agent's settings enable.
pub fn specs(settings: &AgentSettings) -> Vec<ToolSpec> {
    enabled(settings).map(Tool::spec).collect()
}

fn enabled(settings: &AgentSettings) -> impl Iterator<Item = Tool> {
    [
        (settings.read_chat_history, Tool::ChatHistory),
        (settings.enable_agentic_state, Tool::SessionState),
        (settings.enable_agentic_memory, Tool::SearchMemories),
        (settings.enable_agentic_memory, Tool::Remember),
        (settings.enable_agentic_memory, Tool::Forget),
        (settings.search_past_sessions, Tool::PastSessions),
    ]
    .into_iter()
    .filter_map(|(is_on, tool)| is_on.then_some(tool))
}

impl<'a> Toolbox<'a> {
    pub fn new(
        settings: &AgentSettings,
        app: &'a App,
        claim: &'a Claim,
        user: Option<&'a UserId>,
        state: Map<String, Value>,
    ) -> Self {
        let enabled = enabled(settings).filter(|tool| user.is_some() || !tool.needs_user()).collect();
        Self { enabled, app, claim, user, state, patches: Vec::new(), memories: Vec::new() }
    }

    pub fn specs(&self) -> Vec<ToolSpec> {
        self.enabled.iter().copied().map(Tool::spec).collect()
    }

    pub fn state(&self) -> &Map<String, Value> {
        &self.state
    }

    /// Patches the run's view of the state and queues the patch for settlement. Fails if the state would get too large.
    pub fn patch_state(&mut self, patch: Map<String, Value>) -> Result<(), Error> {
        state::try_patch(self.app.settings.sessions.max_state_bytes, &mut self.state, &patch)?;
        self.patches.push(patch);
        Ok(())
    }

    pub fn into_wishes(self) -> Wishes {
        Wishes { patches: self.patches, memories: self.memories }
    }

    /// Calls a tool. Both the result and the error are texts for the model.
    pub async fn call(&mut self, call: &ToolCall) -> Result<String, String> {
        let tool = self.enabled.iter().copied().find(|tool| tool.spec().name == call.name);
        match tool {
            Some(Tool::ChatHistory) => chat_history::call(self, &call.arguments).await,
            Some(Tool::SessionState) => session_state::call(self, &call.arguments),
            Some(Tool::SearchMemories) => memory::search(self, &call.arguments).await,
            Some(Tool::Remember) => memory::remember(self, &call.arguments),
            Some(Tool::Forget) => memory::forget(self, &call.arguments).await,
            Some(Tool::PastSessions) => past_sessions::call(self, &call.arguments).await,
            None => {
                let names: Vec<_> = self.specs().iter().map(|spec| spec.name).collect();
                Err(format!("there is no tool {}; the tools are: {}", call.name, names.join(", ")))
            }
        }
    }
}
