//! `POST /sessions/{id}/messages`: turns that were said elsewhere, taken into a session without a model.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json as Jsonb};
use utoipa::ToSchema;
use uuid::Uuid;

use super::SessionId;
use crate::{
    app::App,
    auth::{Caller, UserId},
    http::{
        Body, Path, Problem,
        refusals::{BodyRefused, NotThere, Unavailable},
    },
    runs::{Role, RunId},
    search::vectors,
    text,
};

const MAX_MESSAGES: usize = 1_000;
const NAME_CHARS: usize = 100;

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
    params(("session_id" = String, Path)),
    request_body = AppendMessagesBody,
    responses((status = 201, body = AppendedRuns), BodyRefused, NotThere, Unavailable)
)]
pub async fn append_messages(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Body(body): Body<AppendMessagesBody>,
) -> Result<(StatusCode, Json<AppendedRuns>), Problem> {
    check(&body)?;
    let caller = Caller::claiming(body.user_id);
    let runs = into_runs(body.messages, Utc::now());
    let run_ids: Vec<RunId> = runs.iter().map(|run| run.run_id).collect();
    let component = body.agent_id.as_deref();
    let mut tx = app.db.begin().await?;
    if !append(&mut tx, &caller, &session_id, component, &runs, &app.settings.search.text_config).await? {
        return Err(Problem::not_found(format!("Session with id '{session_id}' not found")));
    }
    vectors::note(&app, &mut tx, &session_id).await?;
    tx.commit().await?;
    vectors::wake(&app).await;
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

/// A run as it is stored: a message of the user and what was answered.
#[derive(Debug, Serialize)]
struct SaidRun {
    run_id: RunId,
    input: String,
    content: Option<String>,
    created_at: DateTime<Utc>,
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
            runs.push(SaidRun { run_id: RunId::mint(), input, content: None, created_at, messages: Vec::new() });
        }
        if let Some(run) = runs.last_mut() {
            if !is_user {
                run.content = Some(message.content.clone());
            }
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

/// Stores the runs, in one statement. `false`: the session is no agent's, or not the caller's to write.
async fn append(
    connection: &mut PgConnection,
    caller: &Caller,
    session_id: &SessionId,
    component_id: Option<&str>,
    runs: &[SaidRun],
    text_config: &str,
) -> Result<bool, sqlx::Error> {
    let times = || runs.iter().map(|run| run.created_at);
    let name = runs.iter().map(|run| run.input.trim()).find(|input| !input.is_empty());
    let appended = sqlx::query!(
        r#"
        with session as (
            insert into sessions as s (
                session_id, session_type, component_id, user_id, session_name, named_by, last_seq, created_at, updated_at
            )
            values (
                $1, 'agent', $2, $3, $4, case when $4::text is null then null else 'message'::named_by end, $5, $6, $7
            )
            on conflict (session_id) do update set
                last_seq = s.last_seq + excluded.last_seq,
                component_id = coalesce(s.component_id, excluded.component_id),
                session_name = coalesce(s.session_name, excluded.session_name),
                named_by = coalesce(s.named_by, excluded.named_by),
                updated_at = greatest(s.updated_at, excluded.updated_at),
                version = s.version + 1
            where s.session_type = excluded.session_type
              and (s.user_id is null or s.user_id = excluded.user_id)
            returning s.session_id, s.last_seq - $5 as before, s.component_id, s.user_id
        ), said as (
            select session.session_id, before + n as seq, component_id, user_id, r.*
            from session, rows from (jsonb_to_recordset($8) as (
                run_id uuid, input text, content text, created_at timestamptz, messages jsonb
            )) with ordinality as r (run_id, input, content, created_at, messages, n)
        ), run as (
            insert into runs (
                session_id, seq, run_id, component_id, user_id, status, input, content, created_at, finished_at
            )
            select session_id, seq, run_id, coalesce(component_id, ''), user_id, 'COMPLETED', input, content, created_at,
                   created_at
            from said
        ), message as (
            insert into messages (session_id, seq, index, message_id, role, content, words, created_at)
            select said.session_id, said.seq, m.index, m.message_id, m.role::message_role, m.content,
                   search_words($9::text::regconfig, m.content), m.created_at
            from said, jsonb_to_recordset(said.messages) as m (
                message_id uuid, index integer, role text, content text, created_at timestamptz
            )
        )
        select session_id from session
        "#,
        session_id.as_str(),
        component_id,
        caller.user().map(UserId::as_str),
        name.map(|name| text::truncate(name, NAME_CHARS)),
        i64::try_from(runs.len()).unwrap_or(i64::MAX),
        times().min(),
        times().max(),
        Jsonb(runs) as _,
        text_config,
    )
    .fetch_optional(connection)
    .await?;
    Ok(appended.is_some())
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
        let runs = into_runs(messages, Utc::now());
        let inputs: Vec<_> = runs.iter().map(|run| (run.input.as_str(), run.content.as_deref())).collect();
        assert_eq!(inputs, [("", Some("Welcome")), ("Hi", Some("Hello")), ("Bye", None)]);
        assert_eq!(runs[0].messages[0].index, 1);
        assert_eq!(runs[1].messages[1].index, 1);
    }
}
