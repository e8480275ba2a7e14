//! Tools that a model may call. Each is switched on per agent, under the names that AgentOS uses.
//!
//! *Architecture Invariant:* a tool sees the session of its run and what is the same user's, and nothing else; what it
//! changes takes effect when the run is settled. A tool that fails says so to the model; it never ends the run.

mod chat_history;
mod memory;
mod past_sessions;
mod session_state;

use serde_json::{Map, Value};

use crate::{
    app::App,
    auth::UserId,
    config::{AgentSettings, Settings},
    http::Problem,
    llm::{ToolCall, ToolSpec},
    memories::change::Change,
    runs::store::Claim,
    sessions::service::check_state,
};

/// The tools of one run, and the state that they work on.
#[derive(Debug)]
pub struct Toolbox<'a> {
    enabled: Vec<Tool>,
    app: &'a App,
    claim: &'a Claim,
    /// Whose memories and past sessions the tools see; nobody's, and there are no such tools.
    user: Option<&'a UserId>,
    /// The session's state as this run sees it.
    state: Map<String, Value>,
    /// RFC 7396 merge patches that this run has made, in order.
    patches: Vec<Map<String, Value>>,
    /// What is to become of the user's memories, in order.
    memories: Vec<Change>,
}

/// What a run wants to be changed when it is settled.
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

    /// Whether it is about a user, and not there without one.
    fn needs_user(self) -> bool {
        !matches!(self, Self::ChatHistory | Self::SessionState)
    }
}

/// The tools that an agent's settings switch on.
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

    /// Changes the state as this run sees it, and remembers the change for the settling. A change that would make the
    /// state too large is refused.
    pub fn patch_state(&mut self, patch: Map<String, Value>) -> Result<(), Problem> {
        try_patch(&self.app.settings, &mut self.state, &patch)?;
        self.patches.push(patch);
        Ok(())
    }

    pub fn into_wishes(self) -> Wishes {
        Wishes { patches: self.patches, memories: self.memories }
    }

    /// What the model is told: a result, or why there is none.
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

/// The same on a state that others may have changed since the patches were made: one that does not fit any more is left
/// out.
pub fn apply_fitting_patches(settings: &Settings, state: &mut Map<String, Value>, patches: &[Map<String, Value>]) {
    for patch in patches {
        if let Err(problem) = try_patch(settings, state, patch) {
            tracing::warn!(reason = problem.detail(), "A run's change of its session's state does not fit any more.");
        }
    }
}

/// Lays a merge patch over a state, unless that would make it too large.
fn try_patch(settings: &Settings, state: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Problem> {
    let mut patched = state.clone();
    apply_patches(&mut patched, std::slice::from_ref(patch));
    check_state(settings, "/session_state", &patched)?;
    *state = patched;
    Ok(())
}

/// Lays merge patches over a state, one after the other: merge patches cannot be joined into one beforehand.
pub fn apply_patches(state: &mut Map<String, Value>, patches: &[Map<String, Value>]) {
    let mut document = Value::Object(std::mem::take(state));
    for patch in patches {
        json_patch::merge(&mut document, &Value::Object(patch.clone()));
    }
    if let Value::Object(merged) = document {
        *state = merged;
    }
}
