//! The request for a run, which every wire format, queue and schedule hands to the engine.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::AgentSettings,
    model::{RunId, SessionId, WebhookUrl},
};

/// The newest format version of a queued run that this build supports. A build that adds something that older builds
/// must not ignore increments it, and writes it into such runs ([`RunSpec::needs`]).
pub const SUPPORTED: u32 = 1;

/// A requested run, independent of the wire format that it came in.
///
/// This is also the stored form of a queued background run: unknown fields of other builds are ignored, and missing
/// fields have defaults. A change that must not be ignored raises `needs`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSpec {
    /// The format version that a process must support to execute the run.
    pub needs: u32,
    /// The user's message. It is stored in the run's row.
    #[serde(skip)]
    pub message: String,
    /// `None` for the agent's own session, if it has one, or else a new session.
    #[serde(skip)]
    pub session_id: Option<SessionId>,
    /// An RFC 7396 merge patch on the session's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_state: Option<Map<String, Value>>,
    /// Stored in the run's row.
    #[serde(skip)]
    pub metadata: Map<String, Value>,
    #[serde(skip)]
    pub on_busy: OnBusy,
    pub overrides: Overrides,
    pub delivery: Delivery,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continuation: Option<Continuation>,
}

/// What happens to a new run if its session has an active run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// The new run waits for its turn.
    #[default]
    Enqueue,
    /// The new run is refused.
    Reject,
    /// The active run is cancelled, and its partial answer is kept; the new run waits for its turn.
    Interrupt,
}

/// How the result is delivered to the caller.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// The answer is streamed.
    pub stream: bool,
    /// No client waits: any process may execute the run.
    pub background: bool,
    /// The URL that is notified when the run has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<WebhookUrl>,
    /// The response ends only when the background work that the run made necessary is done.
    pub wait_for_background: bool,
}

/// Settings of the agent that this run overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_history_to_context: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_history_runs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_session_state_to_context: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_session_summary_to_context: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_session_summaries: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_memories_to_context: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_memory_on_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_agentic_memory: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_past_sessions: Option<bool>,
}

/// What a run takes over from the run that it continues.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Continuation {
    pub of: RunId,
    /// How many of its messages are kept, counting the user's message, which comes first.
    pub keep: usize,
    /// A user message that is added after them.
    pub added: Option<String>,
    /// Whether the old run leaves the history once this one has completed.
    pub replaces: bool,
}

/// Why this build cannot execute a queued run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the run was queued by a newer build, which asks for form {needs}; this build supports up to {SUPPORTED}")]
    Newer { needs: u32 },
    #[error("the queued run cannot be read: {0}")]
    Unreadable(String),
}

impl RunSpec {
    /// A run with this message, and defaults for everything else.
    pub fn of(message: String) -> Self {
        Self { message, ..Self::default() }
    }

    /// Reads a queued run that was written by this build or another one.
    pub fn read(stored: Value) -> Result<Self, SpecError> {
        // Refuse arrays: serde would deserialize a struct from one, field by field.
        let parts = ["overrides", "delivery", "continuation"].into_iter().filter_map(|name| stored.get(name));
        if !stored.is_object() || parts.into_iter().any(Value::is_array) {
            return Err(SpecError::Unreadable("it has a list where an object belongs".into()));
        }
        let needs = stored.get("needs").and_then(Value::as_u64).unwrap_or_default();
        if needs > u64::from(SUPPORTED) {
            return Err(SpecError::Newer { needs: u32::try_from(needs).unwrap_or(u32::MAX) });
        }
        Self::deserialize(stored).map_err(|error| SpecError::Unreadable(error.to_string()))
    }
}

impl Overrides {
    /// The agent's settings with the run's overrides for memories applied.
    pub fn memory_settings<'a>(&self, agent: &'a AgentSettings) -> Cow<'a, AgentSettings> {
        let overrides = [
            self.add_memories_to_context,
            self.update_memory_on_run,
            self.enable_agentic_memory,
            self.search_past_sessions,
        ];
        if overrides.iter().all(Option::is_none) {
            return Cow::Borrowed(agent);
        }
        let mut settings = agent.clone();
        settings.add_memories_to_context = self.add_memories_to_context.or(settings.add_memories_to_context);
        settings.update_memory_on_run = self.update_memory_on_run.unwrap_or(settings.update_memory_on_run);
        settings.enable_agentic_memory = self.enable_agentic_memory.unwrap_or(settings.enable_agentic_memory);
        settings.search_past_sessions = self.search_past_sessions.unwrap_or(settings.search_past_sessions);
        Cow::Owned(settings)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queued_run_is_read_as_it_was_written() {
        let mut spec = RunSpec::of("Hi".into());
        spec.overrides.num_history_runs = Some(7);
        spec.delivery = Delivery {
            background: true,
            webhook_url: Some(WebhookUrl::stored("https://a.test/".into())),
            ..Delivery::default()
        };
        let read = RunSpec::read(serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(read.overrides, spec.overrides);
        assert_eq!(read.delivery.webhook_url, spec.delivery.webhook_url);
    }

    #[test]
    fn fields_of_a_newer_build_are_passed_over_unless_it_says_that_they_matter() {
        let mut stored = json!({"needs": SUPPORTED, "colour": "red", "overrides": {"shape": 1}, "delivery": {"by": 2}});
        assert!(RunSpec::read(stored.clone()).is_ok());
        stored["needs"] = (SUPPORTED + 1).into();
        assert_eq!(RunSpec::read(stored).unwrap_err(), SpecError::Newer { needs: SUPPORTED + 1 });
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for stored in [
            json!({"overrides": {"num_history_runs": "many"}, "delivery": {"webhook_url": "https://a.test/"}}),
            json!({"delivery": [true, true]}),
            json!([0, {}]),
            json!("by mail"),
            json!(null),
        ] {
            assert!(matches!(RunSpec::read(stored.clone()), Err(SpecError::Unreadable(_))), "{stored}");
        }
    }
}
