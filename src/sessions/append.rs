//! Appends messages from conversations that were held elsewhere, without calling a model.

mod store;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::Appended;
use crate::{
    app::App,
    clock, database,
    idempotency::Claimed,
    jobs::{self, Job},
    memories::{self, extraction},
    model::{Caller, Error, RunId, SessionId, UserId},
    prompt::tokens_of_text,
    search::vectors,
};

/// A message from a conversation that was held elsewhere.
#[derive(Debug)]
pub struct Said {
    pub role: Speaker,
    pub content: String,
    /// Default: the time of the previous message; at the start, the first time that any message has, or else now.
    pub created_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    User,
    Assistant,
}

/// Appends messages as completed runs, and returns the ids of these. Creates the session if it is new; `agent_id`
/// becomes its agent if it has none yet.
pub async fn append(
    app: &Arc<App>,
    caller: &Caller,
    session_id: &SessionId,
    agent_id: Option<&str>,
    messages: Vec<Said>,
    claimed: &Claimed,
) -> Result<Vec<RunId>, Error> {
    let runs = into_runs(messages, clock::now());
    let run_ids: Vec<RunId> = runs.iter().map(|run| run.run_id).collect();
    let mut tx = database::begin(&app.db).await?;
    let text_config = &app.settings.search.text_config;
    let appended = store::append(&mut tx, caller, session_id, agent_id, &runs, text_config).await?;
    let Some(appended) = appended else {
        return Err(Error::not_found(format!("Session with id '{session_id}' not found")));
    };
    let learner = follow_up(app, &mut tx, caller, session_id, &appended, runs.len()).await?;
    vectors::note(app, &mut tx, caller.tenant(), session_id).await?;
    claimed.spend(&mut tx, session_id).await?;
    tx.commit().await?;
    vectors::wake(app).await;
    if let Some(user) = learner {
        extraction::wake(app, caller.tenant(), user);
    }
    Ok(run_ids)
}

/// Enqueues a fold if the session exceeds its limits, and marks the runs as unread, as settling a run does. Returns the
/// user to learn about, if any.
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
        let job = Job::FoldSession {
            tenant_id: caller.tenant().clone(),
            session_id: session_id.clone(),
            agent_id: agent_id.clone(),
        };
        jobs::enqueue_unless_there(app, connection, &job).await?;
    }
    let user = caller.user().filter(|_| appended.is_callers && extraction::is_on(&agent.settings));
    if let Some(user) = user {
        let seqs: Vec<i64> = (appended.before + 1..).take(runs).collect();
        memories::store::note_turns(connection, caller.tenant(), user, session_id, &seqs, agent_id).await?;
    }
    Ok(user)
}

/// A run as it is stored: a user message and the answer to it.
#[derive(Debug, Serialize)]
struct SaidRun {
    run_id: RunId,
    input: String,
    /// The id of the user's message, if there is one.
    message_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    /// Size of the run in a prompt.
    tokens: u32,
    /// Messages of the assistant before the last one.
    steps: Vec<SaidMessage>,
    answer: Option<SaidMessage>,
}

impl SaidRun {
    fn message_count(&self) -> usize {
        usize::from(self.message_id.is_some()) + self.steps.len() + usize::from(self.answer.is_some())
    }
}

#[derive(Debug, Serialize)]
struct SaidMessage {
    message_id: Uuid,
    /// Index 0 is the user message's, even if the run has none.
    index: usize,
    content: String,
    created_at: DateTime<Utc>,
}

/// Each user message starts a run. Assistant messages before the first user message are a run of their own.
fn into_runs(messages: Vec<Said>, now: DateTime<Utc>) -> Vec<SaidRun> {
    let mut runs: Vec<SaidRun> = Vec::new();
    let mut last = messages.iter().find_map(|message| message.created_at).unwrap_or(now);
    for message in messages {
        let created_at = message.created_at.unwrap_or(last);
        last = created_at;
        let is_user = message.role == Speaker::User;
        if is_user || runs.is_empty() {
            runs.push(SaidRun {
                run_id: RunId::mint(),
                input: String::new(),
                message_id: None,
                created_at,
                tokens: 0,
                steps: Vec::new(),
                answer: None,
            });
        }
        let Some(run) = runs.last_mut() else { continue };
        let tokens = u32::try_from(tokens_of_text(&message.content)).unwrap_or(u32::MAX);
        run.tokens = run.tokens.saturating_add(tokens);
        let message_id = Uuid::now_v7();
        if is_user {
            (run.input, run.message_id) = (message.content, Some(message_id));
        } else {
            run.steps.extend(run.answer.take());
            let index = run.steps.len() + 1;
            run.answer = Some(SaidMessage { message_id, index, content: message.content, created_at });
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_the_user_begins_a_run() {
        let said = |role, content: &str| Said { role, content: content.into(), created_at: None };
        let messages = vec![
            said(Speaker::Assistant, "Welcome"),
            said(Speaker::User, "Hi"),
            said(Speaker::Assistant, "Well"),
            said(Speaker::Assistant, "Hello"),
            said(Speaker::User, "Bye"),
        ];
        let runs = into_runs(messages, clock::now());
        let text = |message: &SaidMessage| (message.index, message.content.clone());
        let said = |run: &SaidRun| {
            (run.input.clone(), run.steps.iter().map(text).collect::<Vec<_>>(), run.answer.as_ref().map(text))
        };
        let expected = [
            (String::new(), vec![], Some((1, "Welcome".to_owned()))),
            ("Hi".to_owned(), vec![(1, "Well".to_owned())], Some((2, "Hello".to_owned()))),
            ("Bye".to_owned(), vec![], None),
        ];
        assert_eq!(runs.iter().map(said).collect::<Vec<_>>(), expected);
        assert_eq!(runs.iter().map(SaidRun::message_count).collect::<Vec<_>>(), [1, 3, 1]);
    }
}
