//! `POST /memories/extract` and `POST /optimize-memories`: the endpoints that call a model.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    request::{ExtractBody, OptimizeBody},
    wire::MemorySchema,
};
use crate::{
    agents::Agent,
    api::{
        Body, NoQuery, Problem,
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, Unavailable},
    },
    app::App,
    clock, llm,
    memories::{
        change::Change,
        extraction::{self, Lesson},
        optimize,
        store::{Said, Turn},
    },
    model::{Caller, Error, ErrorKind, MemoryId, Role, SessionId},
    usage::ask::AskError,
};

/// The changes that would be learned from a text.
#[derive(Debug, Serialize, ToSchema)]
pub struct WouldLearn {
    pub operations: Vec<WouldChange>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WouldChange {
    /// `add`, `update` or `delete`.
    op: &'static str,
    memory: Option<String>,
    topics: Vec<String>,
    /// The memory that is replaced or deleted.
    old_memory_id: Option<MemoryId>,
    old_memory: Option<String>,
}

impl From<Lesson> for WouldChange {
    fn from(lesson: Lesson) -> Self {
        let (op, memory, topics) = match lesson.change {
            Change::Add { memory, topics, .. } => ("add", Some(memory), topics),
            Change::Replace { memory, topics, .. } => ("update", Some(memory), topics),
            Change::Forget { .. } => ("delete", None, Vec::new()),
        };
        let (old_memory_id, old_memory) = lesson.old.map(|old| (old.memory_id, old.memory)).unzip();
        Self { op, memory, topics, old_memory_id, old_memory }
    }
}

/// Runs the extraction on a text as a preview; nothing is stored.
#[utoipa::path(
    post,
    path = "/memories/extract",
    tag = "Memories",
    operation_id = "extract_memories",
    request_body = ExtractBody,
    responses(
        (status = 200, body = WouldLearn),
        (status = 502, description = "The model failed", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn extract_memories(
    State(app): State<Arc<App>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body<ExtractBody>,
) -> Result<Json<WouldLearn>, Problem> {
    if body.text.trim().is_empty() {
        return Err(Problem::invalid("/text", "is empty; give what a user says"));
    }
    let caller = caller.acting_for(body.user_id, "/user_id")?;
    let agent = match &body.agent_id {
        Some(id) => app.agents.get(id)?,
        None => first_agent(&app)?,
    };
    let turn = Turn {
        session_id: SessionId::mint(),
        seq: 1,
        agent_id: agent.settings.id.clone(),
        messages: vec![Said { index: 0, role: Role::User, content: body.text, created_at: clock::now() }],
    };
    let lessons = extraction::study(&app, &agent, caller.tenant(), caller.user(), &[turn], true).await;
    let lessons = lessons.map_err(|error| match error.downcast_ref() {
        Some(AskError::Model { .. } | AskError::Unusable(_)) => {
            Error::new(ErrorKind::ModelFailed, format!("{error:#}")).coded("model_provider_error")
        }
        _ => error.into(),
    })?;
    Ok(Json(WouldLearn { operations: lessons.into_iter().map(WouldChange::from).collect() }))
}

/// The result of merging a user's memories, or its preview.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptimizedMemories {
    pub memories: Vec<MemorySchema>,
    pub memories_before: usize,
    pub memories_after: usize,
    pub tokens_before: usize,
    pub tokens_after: usize,
    pub tokens_saved: usize,
    pub reduction_percentage: f64,
}

/// Merges a user's related memories in one transaction; `apply=false` returns a preview and changes nothing.
#[utoipa::path(
    post,
    path = "/optimize-memories",
    tag = "Memories",
    operation_id = "optimize_memories",
    request_body = OptimizeBody,
    responses(
        (status = 200, body = OptimizedMemories),
        (status = 502, description = "The model failed; nothing was changed", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn optimize_memories(
    State(app): State<Arc<App>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body<OptimizeBody>,
) -> Result<Json<OptimizedMemories>, Problem> {
    let model = match &body.model {
        Some(name) => find_model(&app, name)?,
        None => first_agent(&app)?.memory_model().to_owned(),
    };
    let user = body.user_id;
    let caller = caller.acting_for(Some(user.clone()), "/user_id")?;
    let optimized = optimize::optimize(&app, caller.tenant(), &user, &model, body.apply.unwrap_or(true)).await?;
    let tokens_before: usize = optimized.before.iter().map(|memory| llm::count_tokens(&memory.memory)).sum();
    let tokens_after: usize = optimized.memories.iter().map(|memory| llm::count_tokens(&memory.memory)).sum();
    let tokens_saved = tokens_before.saturating_sub(tokens_after);
    #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more")]
    let reduction_percentage = 100.0 * tokens_saved as f64 / tokens_before.max(1) as f64;
    Ok(Json(OptimizedMemories {
        memories_before: optimized.before.len(),
        memories_after: optimized.memories.len(),
        memories: optimized.memories.into_iter().map(MemorySchema::from).collect(),
        tokens_before,
        tokens_after,
        tokens_saved,
        reduction_percentage: (reduction_percentage * 100.0).round() / 100.0,
    }))
}

fn first_agent(app: &App) -> Result<Arc<Agent>, Problem> {
    app.agents.iter().next().cloned().ok_or_else(|| Problem::not_found("There is no agent; declare one"))
}

/// The settings name of a model, given that name or `provider:id`.
fn find_model(app: &App, wanted: &str) -> Result<String, Problem> {
    let is_meant = |name: &str, info: &llm::ModelInfo| {
        name == wanted || format!("{}:{}", info.provider, info.id).eq_ignore_ascii_case(wanted)
    };
    let found = app.models.list().find(|(name, info)| is_meant(name, info));
    found.map(|(name, _)| name.to_owned()).ok_or_else(|| {
        Problem::unreadable(format!("Model \"{wanted}\" is none; GET /models lists those that there are"))
    })
}
