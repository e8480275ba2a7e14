//! Sessions in responses: the AgentOS shapes, plus the field names of the documentation.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    agents::Agents,
    api::agentos::runs::wire::{MessageView, rfc3339},
    model::{RunId, RunMetrics, SessionId, SessionSummary, SessionType, UserId},
    sessions::service::{Conversation, FoundSession, Imported, MessageOfRun},
};

/// A session in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionItem {
    pub session_id: SessionId,
    /// Empty if the session has no name yet.
    pub session_name: String,
    #[schema(value_type = Object)]
    pub session_state: Map<String, Value>,
    #[schema(example = "2026-11-22T10:05:20Z")]
    pub created_at: String,
    pub updated_at: String,
    pub session_type: SessionType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    #[serde(flatten)]
    pub component: Component,
    #[serde(flatten)]
    pub summary: SummaryFields,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<i64>,
    pub run_count: i64,
    /// The number of messages that `GET /sessions/{id}/messages` lists, tool messages included.
    pub message_count: i64,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    pub archived: bool,
    pub pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Only with `q`: an excerpt of the newest matching message, or of the name if only the name matches. HTML in which
    /// `<mark>` is the only markup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "We fly to <mark>Lisbon</mark> in May")]
    pub excerpt: Option<String>,
}

/// The session's component, as `component_id` and under the name of its type.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Component {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
}

impl Component {
    fn new(session_type: SessionType, id: Option<&String>) -> Self {
        let id = id.cloned();
        let mut component = Self { component_id: id.clone(), ..Self::default() };
        match session_type {
            SessionType::Agent => component.agent_id = id,
            SessionType::Team => component.team_id = id,
            SessionType::Workflow => component.workflow_id = id,
            SessionType::Newer(_) => {}
        }
        component
    }
}

/// The summary of the conversation so far; absent until the session has been summarized.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct SummaryFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_summary: Option<SessionSummary>,
    /// The text of `session_summary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

impl From<Option<SessionSummary>> for SummaryFields {
    fn from(session_summary: Option<SessionSummary>) -> Self {
        Self { summary: session_summary.as_ref().map(|summary| summary.summary.clone()), session_summary }
    }
}

/// `{}` until a model has been used.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Metrics {
    None {},
    Some(RunMetrics),
}

impl Metrics {
    fn new(usage: RunMetrics) -> Self {
        if usage.details.is_empty() { Self::None {} } else { Self::Some(usage) }
    }

    fn total_tokens(&self) -> Option<i64> {
        match self {
            Self::None {} => None,
            Self::Some(metrics) => Some(metrics.usage.total_tokens),
        }
    }
}

impl SessionItem {
    pub fn new(FoundSession { session, excerpt }: FoundSession) -> Self {
        let metrics = Metrics::new(session.usage);
        Self {
            excerpt,
            archived: session.archived_at.is_some(),
            pinned: session.pinned,
            expires_at: session.expires_at.map(rfc3339),
            component: Component::new(session.session_type, session.component_id.as_ref()),
            summary: session.summary.into(),
            session_id: session.session_id,
            session_name: session.session_name.unwrap_or_default(),
            session_state: session.session_state,
            created_at: rfc3339(session.created_at),
            updated_at: rfc3339(session.updated_at),
            session_type: session.session_type,
            user_id: session.user_id,
            total_tokens: metrics.total_tokens(),
            run_count: session.run_count,
            message_count: session.message_count,
            metrics,
            metadata: session.metadata,
        }
    }
}

/// A session with the newest part of its conversation.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The same as `session_id`; only on agent sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<SessionId>,
    pub session_id: SessionId,
    pub session_type: SessionType,
    /// Empty if the session has no name yet.
    pub session_name: String,
    #[schema(value_type = Object)]
    pub session_state: Map<String, Value>,
    #[serde(flatten)]
    pub component: Component,
    #[serde(flatten)]
    pub summary: SummaryFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_data: Option<AgentData>,
    /// Only on workflow sessions; always empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub session_data: Option<Map<String, Value>>,
    /// Only on workflow sessions; always empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub workflow_data: Option<Map<String, Value>>,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    pub run_count: i64,
    /// The number of messages that `GET /sessions/{id}/messages` lists, tool messages included.
    pub message_count: i64,
    /// The newest `messages_limit` messages of the user and the assistant, oldest first.
    pub chat_history: Vec<MessageView>,
    /// The same as `chat_history`.
    pub messages: Vec<MessageView>,
    /// Pass it as `messages_before` to read older messages; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_cursor: Option<String>,
    pub archived: bool,
    pub pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The session that this one was copied from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from_session_id: Option<SessionId>,
    #[schema(example = "2026-11-22T10:05:20Z")]
    pub created_at: String,
    pub updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentData {
    pub name: String,
    pub agent_id: String,
    pub model: AgentDataModel,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AgentDataModel {
    pub id: String,
    /// The model's name in the settings.
    pub name: String,
    pub provider: String,
}

impl SessionDetail {
    pub fn new(Conversation { session, messages, cursor }: Conversation, agents: &Agents) -> Self {
        let messages = MessageView::all(messages);
        let is_agent = session.session_type == SessionType::Agent;
        let agent_data = (is_agent && session.run_count > 0)
            .then_some(session.component_id.as_deref())
            .flatten()
            .and_then(|id| agents.get(id).ok())
            .map(|agent| AgentData {
                name: agent.name.clone(),
                agent_id: agent.settings.id.clone(),
                model: AgentDataModel {
                    id: agent.model_info.id.clone(),
                    name: agent.model.clone(),
                    provider: agent.model_info.provider.clone(),
                },
            });
        let metrics = Metrics::new(session.usage);
        let of_workflow = (session.session_type == SessionType::Workflow).then(Map::new);
        Self {
            session_data: of_workflow.clone(),
            workflow_data: of_workflow,
            component: Component::new(session.session_type, session.component_id.as_ref()),
            summary: session.summary.into(),
            user_id: session.user_id,
            agent_session_id: is_agent.then(|| session.session_id.clone()),
            session_id: session.session_id,
            session_type: session.session_type,
            session_name: session.session_name.unwrap_or_default(),
            session_state: session.session_state,
            total_tokens: metrics.total_tokens(),
            agent_data,
            metrics,
            metadata: session.metadata,
            run_count: session.run_count,
            message_count: session.message_count,
            chat_history: messages.clone(),
            messages,
            messages_cursor: cursor,
            archived: session.archived_at.is_some(),
            pinned: session.pinned,
            expires_at: session.expires_at.map(rfc3339),
            forked_from_session_id: session.forked_from,
            created_at: rfc3339(session.created_at),
            updated_at: rfc3339(session.updated_at),
        }
    }
}

/// A message of a session, and the run that it belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionMessage {
    pub run_id: RunId,
    /// The run's number in its session.
    pub seq: i64,
    #[serde(flatten)]
    pub message: MessageView,
}

impl From<MessageOfRun> for SessionMessage {
    fn from(MessageOfRun { run_id, seq, message }: MessageOfRun) -> Self {
        Self { run_id, seq, message: MessageView::new(message, false) }
    }
}

/// The answer to a fork in AgentOS's form.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForkedSession {
    pub session_id: SessionId,
    pub forked_from_session_id: SessionId,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ImportedSession {
    pub session_id: SessionId,
    pub run_count: usize,
    pub message_count: usize,
    /// `false` if the same session existed already.
    pub created: bool,
}

impl From<Imported> for ImportedSession {
    fn from(imported: Imported) -> Self {
        let Imported { session_id, runs, messages, is_new } = imported;
        Self { session_id, run_count: runs, message_count: messages, created: is_new }
    }
}

/// The result of a deletion by filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedSessions {
    pub session_count: u64,
    /// Whether the sessions were only counted, not deleted.
    pub dry_run: bool,
}

/// AgentOS answers edits with empty fields as nulls instead of leaving them out.
#[derive(Debug)]
pub struct WithNulls<T>(pub T);

const NULLABLE: [(&str, &[&str]); 3] = [
    ("agent", &["user_id", "agent_id", "session_summary", "total_tokens", "agent_data"]),
    ("team", &["user_id", "team_id", "session_summary", "total_tokens", "team_data"]),
    ("workflow", &["user_id", "workflow_id", "workflow_name"]),
];

impl<T: Serialize> Serialize for WithNulls<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serde_json::to_value(&self.0).map_err(serde::ser::Error::custom)?;
        if let Value::Object(fields) = &mut value {
            let of_type = NULLABLE.iter().find(|(name, _)| fields.get("session_type").is_some_and(|of| of == name));
            for name in of_type.into_iter().flat_map(|(_, names)| names.iter().copied()) {
                fields.entry(name).or_insert(Value::Null);
            }
        }
        value.serialize(serializer)
    }
}
