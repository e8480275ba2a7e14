//! The prompt that the next run would send, shown without calling a model.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    agents::Agent,
    app::App,
    llm::PromptMessage,
    memories::recall,
    model::{ContextRecord, Error, Role, Scope, SessionId, state},
    prompt::{self, Context, ContextOptions, tokens_of},
    runs::spec::Overrides,
    sessions, tools,
};

/// The prompt that the next run would send, part by part.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContextView {
    pub session_id: SessionId,
    pub agent_id: String,
    /// The tokens of all parts, as counted by this server. Providers count slightly differently.
    pub total_tokens: usize,
    /// The parts, in the order in which the model sees them.
    pub parts: Vec<PartView>,
    /// The context record that would be stored with the run.
    pub context: ContextRecord,
    /// The messages, as they would be sent to the model.
    pub messages: Vec<PromptMessageView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PartView {
    #[schema(example = "summary")]
    pub name: &'static str,
    pub tokens: usize,
    /// What the part contains, and why.
    #[schema(example = "covers the runs up to 41")]
    pub why: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PromptMessageView {
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// The prompt of a run of this agent, if it began now.
pub async fn of_next_run(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    agent: &Agent,
    message: &str,
) -> Result<ContextView, Error> {
    let session = sessions::service::find(app, scope, session_id, None).await?;
    let options = ContextOptions::new(agent, &Overrides::default());
    let past = prompt::store::past_of_next(&app.db, scope, session_id, &options).await?;
    let mut state: Map<String, Value> = agent.settings.session_state.clone();
    state::apply_patches(&mut state, &[session.session_state]);
    let recalled = recall::recall(app, &agent.settings, scope.tenant_id(), session.user_id.as_ref(), message).await?;
    let context = Context::new(agent, options, past, recalled, &state, message);
    let tool_tokens: usize = tools::specs(&agent.settings)
        .iter()
        .map(|tool| tokens_of(tool.name) + tokens_of(tool.description) + tokens_of(&tool.parameters.to_string()))
        .sum();
    Ok(ContextView {
        session_id: session_id.clone(),
        agent_id: agent.settings.id.clone(),
        total_tokens: context.record.tokens.total() + tool_tokens,
        parts: parts(&context.record, agent, tool_tokens),
        messages: messages(&context),
        context: context.record,
    })
}

fn parts(record: &ContextRecord, agent: &Agent, tool_tokens: usize) -> Vec<PartView> {
    let tokens = record.tokens;
    let part = |name, tokens, why: String| (tokens > 0).then_some(PartView { name, tokens, why });
    let covers = record.summary_through.map(|seq| format!("covers the runs up to {seq}"));
    [
        part("tools", tool_tokens, "the tools that the agent may call".into()),
        part(
            "instructions",
            tokens.instructions,
            format!("description and instructions of the agent {}", agent.settings.id),
        ),
        part("summary", tokens.summary, covers.unwrap_or_default()),
        part("history", tokens.history, why_this_history(record)),
        part("memories", tokens.memories, "what is known of the user that bears on the message".into()),
        part("session_state", tokens.session_state, "the agent sets add_session_state_to_context".into()),
        part("message", tokens.message, "the message itself".into()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn why_this_history(record: &ContextRecord) -> String {
    let first = record.first_history_seq.unwrap_or_default();
    let rule = match record.summary_through {
        Some(through) => format!("the runs after {through}, which the summary ends with"),
        None => format!("the last {} runs", record.history_runs),
    };
    match record.runs_left_out {
        0 => rule,
        left_out => format!("{rule}, from run {first} on: {left_out} older ones would exceed history.max_tokens"),
    }
}

fn messages(context: &Context) -> Vec<PromptMessageView> {
    let system = context.system.iter().map(|text| PromptMessageView::text(Role::System, Some(text.clone())));
    system.chain(context.prompt().into_iter().map(PromptMessageView::from)).collect()
}

impl PromptMessageView {
    fn text(role: Role, content: Option<String>) -> Self {
        Self { role, content, tool_calls: Vec::new(), tool_call_id: None }
    }
}

impl From<PromptMessage> for PromptMessageView {
    fn from(message: PromptMessage) -> Self {
        match message {
            PromptMessage::User(content) => Self::text(Role::User, Some(content)),
            PromptMessage::Assistant { content, tool_calls } => {
                let calls = tool_calls.iter().map(|call| serde_json::to_value(call).unwrap_or_default());
                Self { tool_calls: calls.collect(), ..Self::text(Role::Assistant, content) }
            }
            PromptMessage::Tool { call_id, content, .. } => {
                Self { tool_call_id: Some(call_id), ..Self::text(Role::Tool, Some(content)) }
            }
        }
    }
}
