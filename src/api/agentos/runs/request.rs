//! The body of `POST /agents/{id}/runs`: JSON, or the forms that existing clients send.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    api::forms::Fields,
    model::{SessionId, UserId, WebhookUrl},
    runs::spec::{self, Delivery, Overrides, RunSpec},
};

/// What to do with a new run if the session is busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// The new run waits for its turn.
    #[default]
    Enqueue,
    /// The new run is refused with 409.
    Reject,
    /// The active run is cancelled and its partial answer is kept; the new run stays in line for its turn. A run of
    /// another user is not cancelled: the new run waits for it, as with `enqueue`.
    Interrupt,
}

impl From<OnBusy> for spec::OnBusy {
    fn from(on_busy: OnBusy) -> Self {
        match on_busy {
            OnBusy::Enqueue => Self::Enqueue,
            OnBusy::Reject => Self::Reject,
            OnBusy::Interrupt => Self::Interrupt,
        }
    }
}

/// The request to run an agent.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"message": "Hi, my name is Alice", "session_id": "s-1", "user_id": "alice@example.com"}))]
pub struct CreateRun {
    /// The user's message; not empty.
    #[schema(min_length = 1)]
    pub message: String,
    /// The conversation to continue. Default: the session from the agent's settings, or else a new one, whose id is in
    /// the answer. An unused id starts a new conversation.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// The owner of the conversation.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// `true`: Server-Sent Events; `false`: one JSON answer. Default: `false` for JSON; for forms `true`, unless
    /// `background` is set.
    #[serde(default)]
    pub stream: Option<bool>,
    /// `true`: the answer is 202 at once. The run continues without the client, on any server, even if this one
    /// crashes. Read it later, or stream it with `stream`.
    #[serde(default)]
    pub background: Option<bool>,
    /// Default: `enqueue`.
    #[serde(default)]
    pub on_busy: Option<OnBusy>,
    /// The URL that is notified with a signed Standard Webhooks message when a background run ends.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub webhook_url: Option<WebhookUrl>,
    /// An RFC 7396 merge patch for the session's state, applied when the run completes.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub session_state: Option<Map<String, Value>>,
    /// Stored with the run.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Overrides the agent's setting.
    #[serde(default)]
    pub add_history_to_context: Option<bool>,
    /// Overrides the agent's setting; at most 1,000.
    #[serde(default)]
    #[schema(maximum = 1000)]
    pub num_history_runs: Option<u32>,
    /// Overrides the agent's setting.
    #[serde(default)]
    pub add_session_state_to_context: Option<bool>,
    /// Overrides the agent's setting: whether the session's summary is in the prompt. Also `include_summary`.
    #[serde(default, alias = "include_summary")]
    pub add_session_summary_to_context: Option<bool>,
    /// Overrides the agent's setting: whether the session is summarized once its history is long enough.
    #[serde(default)]
    pub enable_session_summaries: Option<bool>,
    /// Overrides the agent's setting.
    #[serde(default)]
    pub add_memories_to_context: Option<bool>,
    /// Overrides the agent's setting.
    #[serde(default)]
    pub update_memory_on_run: Option<bool>,
    /// Overrides the agent's setting.
    #[serde(default)]
    pub enable_agentic_memory: Option<bool>,
    /// Overrides the agent's setting.
    #[serde(default)]
    pub search_past_sessions: Option<bool>,
    /// Whether to answer only after the background work caused by this run: memories and the summary. In a stream, the
    /// events of this work come before `RunCompleted`.
    #[serde(default)]
    pub wait_for_background: Option<bool>,
}

impl Fields for CreateRun {
    const FIELDS: &'static [&'static str] = &[
        "stream",
        "background",
        "on_busy",
        "session_state",
        "metadata",
        "add_history_to_context",
        "num_history_runs",
        "add_session_state_to_context",
        "add_session_summary_to_context",
        "include_summary",
        "enable_session_summaries",
        "add_memories_to_context",
        "update_memory_on_run",
        "enable_agentic_memory",
        "search_past_sessions",
        "wait_for_background",
    ];
    const TEXT: &'static [&'static str] = &["message", "session_id", "user_id", "webhook_url"];
    const VERBATIM: Option<&'static str> = Some("message");
    const UNSUPPORTED: &'static [&'static str] = &[
        "files",
        "images",
        "audio",
        "videos",
        "input_files",
        "output_schema",
        "dependencies",
        "knowledge_filters",
        "run_id",
    ];
}

impl CreateRun {
    /// Converts the request for the engine. `streams_by_default` is true for forms.
    pub fn into_spec(self, streams_by_default: bool) -> RunSpec {
        let background = self.background.unwrap_or(false);
        RunSpec {
            message: self.message,
            session_id: self.session_id,
            session_state: self.session_state,
            metadata: self.metadata.unwrap_or_default(),
            on_busy: self.on_busy.unwrap_or_default().into(),
            overrides: Overrides {
                add_history_to_context: self.add_history_to_context,
                num_history_runs: self.num_history_runs,
                add_session_state_to_context: self.add_session_state_to_context,
                add_session_summary_to_context: self.add_session_summary_to_context,
                enable_session_summaries: self.enable_session_summaries,
                add_memories_to_context: self.add_memories_to_context,
                update_memory_on_run: self.update_memory_on_run,
                enable_agentic_memory: self.enable_agentic_memory,
                search_past_sessions: self.search_past_sessions,
            },
            delivery: Delivery {
                stream: self.stream.unwrap_or(streams_by_default && !background),
                background,
                webhook_url: self.webhook_url,
                wait_for_background: self.wait_for_background.unwrap_or(false),
            },
            ..RunSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Problem, forms};

    fn form(fields: &[(&str, &str)]) -> Result<CreateRun, Problem> {
        forms::from_fields(fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_form_means_what_the_json_would() {
        let run = form(&[
            ("message", "true"),
            ("session_id", ""),
            ("user_id", "None"),
            ("stream", "False"),
            ("session_state", r#"{"a": 1}"#),
            ("num_history_runs", "5"),
            ("version", "3"),
            ("background", "false"),
        ])
        .unwrap();
        assert_eq!(run.message, "true");
        assert!(run.session_id.is_none() && run.user_id.is_none());
        assert_eq!(run.stream, Some(false));
        assert_eq!(run.session_state.unwrap()["a"], 1);
        assert_eq!(run.num_history_runs, Some(5));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_rather_than_dropped() {
        for (name, value) in [("images", "[{}]"), ("run_id", "x"), ("session_state", "[1]"), ("on_busy", "wait")] {
            let problem = form(&[("message", "hi"), (name, value)]).unwrap_err();
            assert!(problem.detail().contains(name), "{}", problem.detail());
        }
    }
}
