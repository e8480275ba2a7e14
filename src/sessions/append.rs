//! `POST /sessions/{id}/messages`: turns that were said elsewhere, taken into a session without a model.

mod store;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::SessionId;
use crate::{
    app::App,
    auth::{Caller, UserId},
    clock, database,
    http::{
        Body, NoQuery, Path, Problem,
        idempotency::{Claimed, IdempotencyKey},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, Unavailable},
    },
    jobs::{self, Job},
    memories::{self, extraction},
    runs::{Role, RunId, context::tokens_of_text},
    search::vectors,
    text,
};
use store::Appended;

const MAX_MESSAGES: usize = 1_000;

/// What was said elsewhere, oldest first.
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
    /// Whom the conversation belongs to.
    #[serde(default)]
    user_id: Option<UserId>,
    /// The agent of a session that is new.
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
    /// Absent: as the message before, or now.
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
    /// One for each message of the user with what was answered.
    pub run_ids: Vec<RunId>,
}

/// Takes turns that were said elsewhere into a session, which is made if it is new. No model is asked.
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
    claimed: Claimed,
    _: NoQuery,
    Body(body): Body<AppendMessagesBody>,
) -> Result<(StatusCode, Json<AppendedRuns>), Problem> {
    check(&body)?;
    let caller = Caller::claiming(body.user_id);
    let runs = into_runs(body.messages, clock::now());
    let run_ids: Vec<RunId> = runs.iter().map(|run| run.run_id).collect();
    let component = body.agent_id.as_deref();
    let mut tx = database::begin(&app.db).await?;
    let text_config = &app.settings.search.text_config;
    let appended = store::append(&mut tx, &caller, &session_id, component, &runs, text_config).await?;
    let Some(appended) = appended else {
        return Err(Problem::not_found(format!("Session with id '{session_id}' not found")));
    };
    let learner = follow_up(&app, &mut tx, &caller, &session_id, &appended, runs.len()).await?;
    vectors::note(&app, &mut tx, &session_id).await?;
    claimed.spend(&mut tx, &session_id).await?;
    tx.commit().await?;
    vectors::wake(&app).await;
    if let Some(user) = learner {
        extraction::wake(&app, user);
    }
    Ok((StatusCode::CREATED, Json(AppendedRuns { session_id, run_ids })))
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

/// Queues what a run of the session's agent would have left to be done, and tells whose memories are to be drawn from it.
async fn follow_up<'a>(
    app: &App,
    connection: &mut PgConnection,
    caller: &'a Caller,
    session_id: &SessionId,
    appended: &Appended,
    runs: usize,
) -> Result<Option<&'a UserId>, sqlx::Error> {
    let agent = appended.component_id.as_deref().and_then(|agent_id| app.agents.get(agent_id).ok());
    let Some(agent) = agent else { return Ok(None) };
    let agent_id = &agent.settings.id;
    let is_long = agent.history.is_exceeded_by(appended.unfolded_tokens, appended.unfolded_runs);
    if agent.settings.enable_session_summaries && is_long {
        let job = Job::FoldSession { session_id: session_id.clone(), agent_id: agent_id.clone() };
        jobs::enqueue_unless_there(app, connection, &job).await?;
    }
    let user = caller.user().filter(|_| appended.is_callers && extraction::is_on(&agent.settings));
    if let Some(user) = user {
        let seqs: Vec<i64> = (appended.before + 1..).take(runs).collect();
        memories::store::note_turns(connection, user, session_id, &seqs, agent_id).await?;
    }
    Ok(user)
}

/// A run as it is stored: a message of the user and what was answered.
#[derive(Debug, Serialize)]
struct SaidRun {
    run_id: RunId,
    input: String,
    content: Option<String>,
    created_at: DateTime<Utc>,
    /// What it takes in a prompt.
    tokens: u32,
    messages: Vec<SaidMessage>,
}

#[derive(Debug, Serialize)]
struct SaidMessage {
    message_id: Uuid,
    index: usize,
    role: Role,
    content: String,
    created_at: DateTime<Utc>,
}

/// Each message of the user begins a run. An answer without a question before it is a run of its own.
fn into_runs(messages: Vec<SaidElsewhere>, now: DateTime<Utc>) -> Vec<SaidRun> {
    let mut runs: Vec<SaidRun> = Vec::new();
    let mut last = messages.iter().find_map(|message| message.created_at).unwrap_or(now);
    for message in messages {
        let created_at = message.created_at.unwrap_or(last);
        last = created_at;
        let is_user = message.role == SaidBy::User;
        if is_user || runs.is_empty() {
            let input = if is_user { message.content.clone() } else { String::new() };
            runs.push(SaidRun {
                run_id: RunId::mint(),
                input,
                content: None,
                created_at,
                tokens: 0,
                messages: Vec::new(),
            });
        }
        if let Some(run) = runs.last_mut() {
            if !is_user {
                run.content = Some(message.content.clone());
            }
            let tokens = u32::try_from(tokens_of_text(&message.content)).unwrap_or(u32::MAX);
            run.tokens = run.tokens.saturating_add(tokens);
            run.messages.push(SaidMessage {
                message_id: Uuid::now_v7(),
                // The user's message is 0, whether or not there is one.
                index: run.messages.len() + usize::from(run.input.is_empty()),
                role: if is_user { Role::User } else { Role::Assistant },
                content: message.content,
                created_at,
            });
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_the_user_begins_a_run() {
        let said = |role, content: &str| SaidElsewhere { role, content: content.into(), created_at: None };
        let messages = vec![
            said(SaidBy::Assistant, "Welcome"),
            said(SaidBy::User, "Hi"),
            said(SaidBy::Assistant, "Hello"),
            said(SaidBy::User, "Bye"),
        ];
        let runs = into_runs(messages, clock::now());
        let inputs: Vec<_> = runs.iter().map(|run| (run.input.as_str(), run.content.as_deref())).collect();
        assert_eq!(inputs, [("", Some("Welcome")), ("Hi", Some("Hello")), ("Bye", None)]);
        assert_eq!(runs[0].messages[0].index, 1);
        assert_eq!(runs[1].messages[1].index, 1);
    }
}
