//! `POST /sessions/{id}/messages`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        Body, NoQuery, Path, Problem,
        idempotency::IdempotencyKey,
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, Unavailable},
    },
    app::App,
    idempotency::Claimed,
    model::{Caller, RunId, SessionId, UserId},
    sessions::append::{self, Said, Speaker},
    text,
};

const MAX_MESSAGES: usize = 1_000;

/// Messages from elsewhere, oldest first.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "user_id": "alice@example.com",
    "messages": [
        {"role": "user", "content": "I moved to Oslo.", "created_at": "2023-05-08T13:56:00Z"},
        {"role": "assistant", "content": "How do you like it?"},
    ],
}))]
pub struct AppendMessagesBody {
    /// The owner of the conversation.
    #[serde(default)]
    user_id: Option<UserId>,
    /// The session's agent, if the session is new or has none.
    #[serde(default)]
    agent_id: Option<String>,
    #[schema(min_items = 1, max_items = 1000)]
    messages: Vec<SaidElsewhere>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SaidElsewhere {
    role: SaidBy,
    #[schema(min_length = 1)]
    content: String,
    /// Default: the time of the previous message. Without one, the first time given in the request, or now.
    #[serde(default)]
    created_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SaidBy {
    User,
    Assistant,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AppendedRuns {
    pub session_id: SessionId,
    /// One run per user message, with the answers to it. Answers before the first user message form a run of their own.
    pub run_ids: Vec<RunId>,
}

/// Appends turns from elsewhere to a session, which is created if it does not exist. No model is called.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/messages",
    tag = "Sessions",
    operation_id = "append_messages",
    params(("session_id" = String, Path), IdempotencyKey),
    request_body = AppendMessagesBody,
    responses(
        (status = 201, body = AppendedRuns),
        (status = 409, description = "The first request with this key is still carried out, or its answer was lost", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn append_messages(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    caller: Caller,
    claimed: Claimed,
    _: NoQuery,
    Body(body): Body<AppendMessagesBody>,
) -> Result<(StatusCode, Json<AppendedRuns>), Problem> {
    check(&body)?;
    let AppendMessagesBody { user_id, agent_id, messages } = body;
    let caller = caller.acting_for(user_id, "/user_id")?;
    let messages = messages.into_iter().map(Said::from).collect();
    let run_ids = append::append(&app, &caller, &session_id, agent_id.as_deref(), messages, &claimed).await?;
    Ok((StatusCode::CREATED, Json(AppendedRuns { session_id, run_ids })))
}

impl From<SaidElsewhere> for Said {
    fn from(message: SaidElsewhere) -> Self {
        let role = match message.role {
            SaidBy::User => Speaker::User,
            SaidBy::Assistant => Speaker::Assistant,
        };
        Self { role, content: message.content, created_at: message.created_at }
    }
}

fn check(body: &AppendMessagesBody) -> Result<(), Problem> {
    if !(1..=MAX_MESSAGES).contains(&body.messages.len()) {
        let detail = format!("has {} messages; give 1 to {MAX_MESSAGES}", body.messages.len());
        return Err(Problem::invalid("/messages", detail));
    }
    if let Some(agent_id) = &body.agent_id {
        text::check_id(agent_id).map_err(|error| Problem::invalid("/agent_id", error))?;
    }
    if let Some(at) = body.messages.iter().position(|message| message.content.is_empty()) {
        return Err(Problem::invalid(format!("/messages/{at}/content"), "is empty; leave the message out"));
    }
    Ok(())
}
