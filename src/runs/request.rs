//! The body of `POST /agents/{id}/runs`: JSON, or the forms that the existing clients send.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    model::RunId,
    webhook::{self, WebhookUrl},
};
use crate::{
    auth::UserId,
    config::{AgentSettings, MAX_HISTORY_RUNS, Settings},
    http::{Problem, forms::Fields},
    jobs::Job,
    sessions::{self, SessionId},
};

/// What happens to a run on a session that has one running already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// It waits for its turn.
    #[default]
    Enqueue,
    /// It is refused with 409.
    Reject,
    /// The running one is cancelled, its partial answer kept; then it is this one's turn. Another user's run is not
    /// cancelled: this one waits for it, as with `enqueue`.
    Interrupt,
}

/// What a client asks of an agent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"message": "Hi, my name is Alice", "session_id": "s-1", "user_id": "alice@example.com"}))]
pub struct CreateRun {
    /// The user's message; not empty.
    #[schema(min_length = 1)]
    pub message: String,
    /// The conversation to continue. Absent: the agent's own, where its settings name one, or else a new one, whose id is
    /// in the answer. An id that is not in use yet begins a new conversation.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// Whom the conversation belongs to.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// `true`: Server-Sent Events; `false`: one JSON answer. Absent: `false` in JSON, `true` in forms.
    #[serde(default)]
    pub stream: Option<bool>,
    /// `true`: the answer is 202 at once, and the run goes on by itself, on any server, also when this one dies. Read it
    /// later, or stream it with `stream`.
    #[serde(default)]
    pub background: Option<bool>,
    /// `enqueue` if left out.
    #[serde(default)]
    pub on_busy: Option<OnBusy>,
    /// Where the end of a background run is told, as a signed Standard Webhooks message.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub webhook_url: Option<WebhookUrl>,
    /// An RFC 7396 merge patch on the session's state; it takes effect when the run completes.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub session_state: Option<Map<String, Value>>,
    /// Kept with the run.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub add_history_to_context: Option<bool>,
    /// Instead of the agent's own setting; at most 1,000.
    #[serde(default)]
    #[schema(maximum = 1000)]
    pub num_history_runs: Option<u32>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub add_session_state_to_context: Option<bool>,
    /// Instead of the agent's own setting: whether the session's summary goes into the prompt. Also `include_summary`.
    #[serde(default, alias = "include_summary")]
    pub add_session_summary_to_context: Option<bool>,
    /// Instead of the agent's own setting: whether the session is summarized when it has grown.
    #[serde(default)]
    pub enable_session_summaries: Option<bool>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub add_memories_to_context: Option<bool>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub update_memory_on_run: Option<bool>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub enable_agentic_memory: Option<bool>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub search_past_sessions: Option<bool>,
    /// Whether to answer only when the background work that this run made necessary is done: memories and the summary.
    /// In a stream its events come before `RunCompleted`.
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
    /// A run on `message` that asks for nothing else.
    pub fn of(message: String) -> Self {
        Self {
            message,
            session_id: None,
            user_id: None,
            stream: None,
            background: None,
            on_busy: None,
            webhook_url: None,
            session_state: None,
            metadata: None,
            add_history_to_context: None,
            num_history_runs: None,
            add_session_state_to_context: None,
            add_session_summary_to_context: None,
            enable_session_summaries: None,
            add_memories_to_context: None,
            update_memory_on_run: None,
            enable_agentic_memory: None,
            search_past_sessions: None,
            wait_for_background: None,
        }
    }

    /// The agent's settings of memories with this run's own laid over them.
    pub(super) fn memory_settings<'a>(&self, agent: &'a AgentSettings) -> Cow<'a, AgentSettings> {
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

    pub fn is_background(&self) -> bool {
        self.background.unwrap_or(false)
    }

    /// The job that tells the end of the run, if somebody wants to be told.
    pub(super) fn webhook(&self, run_id: RunId) -> Option<Job> {
        self.webhook_url.clone().map(|url| tell_end(run_id, url))
    }
}

/// The job that tells the end of a run.
pub(super) fn tell_end(run_id: RunId, url: WebhookUrl) -> Job {
    Job::DeliverWebhook { run_id, url: Some(url) }
}

/// Refuses what the type alone does not.
pub(super) fn check(run: &CreateRun, settings: &Settings) -> Result<(), Problem> {
    if run.message.is_empty() {
        return Err(Problem::invalid("/message", "is empty; give the user's message"));
    }
    if let Some(count) = run.num_history_runs.filter(|count| *count > MAX_HISTORY_RUNS) {
        return Err(Problem::invalid("/num_history_runs", format!("is {count}; use at most {MAX_HISTORY_RUNS}")));
    }
    if let Some(state) = &run.session_state {
        sessions::service::check_state(settings, "/session_state", state)?;
    }
    if let Some(url) = &run.webhook_url {
        if !run.is_background() {
            return Err(Problem::invalid(
                "/webhook_url",
                "is for background runs; add background=true, or leave it out",
            ));
        }
        webhook::check_url(url, &settings.webhooks)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::forms;

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
