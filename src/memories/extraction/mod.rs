//! Learning from what users say: new turns in, changes of memories out.
//!
//! A run that settles is marked as unread in the same statement, one that was said elsewhere by [`store::note_turns`];
//! [`wake`] then enqueues a job unless one waits already, and nobody waits for that. [`learn`] is the job, `reading` how it
//! goes through the unread turns of one user; what came of them is stored in the transaction that marks them as read.
//! `prompt` has what the model is told, `reply` what it may answer, `grounding` what it makes up.
//!
//! *Architecture Invariant:* a model sees memories by small numbers and answers with these, so it can name none that it
//! was not shown, and nobody else's. What it answers is checked whole before any of it is stored.

mod grounding;
mod prompt;
mod reading;
mod reply;

use std::sync::Arc;

use chrono::TimeDelta;

use super::{
    change::{self, Author, Change},
    model::{Memory, Source},
    store::{self, Turn},
};
use crate::{
    agents::Agent,
    app::App,
    auth::{Scope, UserId},
    clock,
    config::{AgentMemorySettings, AgentSettings},
    database,
    jobs::{self, Job},
    search::{self, model::Search, vectors},
    sessions::{
        ask::{self, Question},
        costs::Purpose,
    },
};

pub use prompt::RESPONSE_NAME;
pub use reading::learn;

/// How many of the user's memories a model is shown.
const SHOWN: usize = 10;
/// How many jobs are queued at once by the clock.
const MOST_QUEUED: i64 = 1_000;
/// How much of what was said is looked at to choose these, in characters.
const QUERY_CHARS: usize = 4_000;

/// Whether runs of this agent are learned from.
pub fn is_on(settings: &AgentSettings) -> bool {
    settings.update_memory_on_run && !settings.enable_agentic_memory
}

/// Sees to it that a job waits for what the user has unread. After this is stored, and beside the answer: to queue a
/// job takes longer than to settle. If the process dies before, [`sweep`] does it.
pub fn wake(app: &Arc<App>, user: &UserId) {
    let (of_task, user) = (app.clone(), user.clone());
    app.tasks.spawn(async move {
        if let Err(error) = queue(&of_task, user).await {
            tracing::warn!(%error, "The job that learns of a user could not be queued; the clock will do it.");
        }
    });
}

/// Queues the jobs that are missing; by the clock, when a process starts, and before somebody looks at what waits. A
/// user whose job has failed for good has none missing: that one waits to be retried, or for the user's next run.
pub async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    for user in jobs::users_without_job(app, MOST_QUEUED).await? {
        queue(app, user).await?;
    }
    jobs::unpark_learning(app).await?;
    jobs::hasten_learning(app, None).await
}

/// Where a job waits already there is nothing to do: what it reads, it reads when it has begun.
async fn queue(app: &App, user: UserId) -> Result<(), sqlx::Error> {
    let job = Job::Learn { user_id: user.clone() };
    if jobs::is_waiting(app, &app.db, &job).await? {
        return jobs::hasten_learning(app, Some(&job)).await;
    }
    let mut tx = database::begin(&app.db).await?;
    // Another may have queued it meanwhile; to do so again would give a job that has failed all its attempts back.
    if store::hold_unread(&mut tx, &user).await? && !jobs::is_waiting(app, &mut *tx, &job).await? {
        jobs::enqueue(app, &mut tx, &job).await?;
    }
    tx.commit().await
}

/// The job that somebody has retried: the user's turns that were set aside are read again, with all their attempts.
pub async fn learn_again(app: &App, user: &UserId) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, user).await?;
    if store::take_up_again(&mut tx, user).await? {
        jobs::enqueue_first(app, &mut tx, &Job::Learn { user_id: user.clone() }).await?;
    }
    tx.commit().await
}

/// A change that a model has made of some turns, and which of the turns say so.
#[derive(Debug)]
pub struct Lesson {
    pub change: Change,
    /// What it takes the place of, or what is to be forgotten.
    pub old: Option<Memory>,
    /// Indexes of turns.
    turns: Vec<usize>,
}

/// Asks the model; nothing is stored but what it cost. A reply that cannot be used is sent back once, with the complaint.
/// `is_asked_for`: somebody waits for the answer.
pub async fn study(
    app: &App,
    agent: &Agent,
    user: Option<&UserId>,
    turns: &[Turn],
    is_asked_for: bool,
) -> anyhow::Result<Vec<Lesson>> {
    let Some(last) = turns.last() else { return Ok(Vec::new()) };
    let settings = &agent.settings.memory;
    let shown = match user {
        Some(user) => memories_to_show(app, user, turns).await?,
        None => Vec::new(),
    };
    let question = Question {
        session_id: &last.session_id,
        purpose: Purpose::Memory,
        model: agent.memory_model(),
        is_asked_for,
        request: prompt::request(settings, &shown, turns),
    };
    let read =
        |said: &str, _| reply::parse(said, shown.len(), turns.len()).map_err(|complaint| format!("it {complaint}"));
    let operations = ask::ask(app, question, read, prompt::complaint).await?.value;
    let expires_at =
        settings.expire_after.and_then(|after| clock::now().checked_add_signed(TimeDelta::from_std(after).ok()?));
    let lessons = operations.into_iter().filter_map(|operation| operation.into_lesson(&shown, expires_at));
    Ok(lessons.filter(|lesson| may_be_kept(settings, lesson, turns)).collect())
}

/// The memories that are most like what was said, then the newest.
async fn memories_to_show(app: &App, user: &UserId, turns: &[Turn]) -> anyhow::Result<Vec<Memory>> {
    let said: String = turns.iter().flat_map(|turn| [turn.input.as_str(), "\n"]).collect();
    let query = said.chars().take(QUERY_CHARS).collect();
    let search = Search { limit: SHOWN, ..Search::of_memories(Scope::User(user.clone()), query) };
    let found = search::service::search(app, &search).await?;
    let mut shown: Vec<Memory> = found
        .hits
        .into_iter()
        .filter_map(|hit| match hit.found {
            search::model::Found::Memory(memory) => Some(memory),
            search::model::Found::Message(_) => None,
        })
        .collect();
    for memory in store::newest(&app.db, user, i64::try_from(SHOWN)?).await? {
        if shown.len() < SHOWN && shown.iter().all(|known| known.memory_id != memory.memory_id) {
            shown.push(memory);
        }
    }
    Ok(shown)
}

/// What must not be kept is left out: secrets, topics that the agent is not to remember, and what is not about the user.
fn may_be_kept(settings: &AgentMemorySettings, lesson: &Lesson, turns: &[Turn]) -> bool {
    let (Change::Add { memory, topics, .. } | Change::Replace { memory, topics, .. }) = &lesson.change else {
        return true;
    };
    if let Err(reason) = change::check_text(memory) {
        tracing::warn!(reason, "Something was not remembered: the memory cannot be kept.");
        return false;
    }
    if !grounding::is_of_user(memory, lesson.turns.iter().map(|at| &turns[*at])) {
        tracing::info!("Something was not remembered: it only repeats a question, or what was answered to one.");
        return false;
    }
    let has_one_of =
        |wanted: &[String]| topics.iter().any(|topic| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(topic)));
    (settings.topics.is_empty() || has_one_of(&settings.topics)) && !has_one_of(&settings.excluded_topics)
}

/// Stores what was learned and marks the turns as read, in one transaction.
async fn remember(app: &App, user: &UserId, turns: &[Turn], lessons: &[Lesson]) -> anyhow::Result<()> {
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, user).await?;
    // What was deleted meanwhile is not learned; what another worker has read is learned already.
    let taken = store::take_turns(&mut tx, user, turns).await?;
    let at = clock::now();
    for lesson in lessons {
        let sources: Vec<Source> =
            lesson.turns.iter().map(|at| turns[*at].source()).filter(|source| taken.contains(source)).collect();
        if sources.is_empty() {
            continue;
        }
        let agent_id = turns.first().map(|turn| turn.agent_id.as_str());
        let text_config = &app.settings.search.text_config;
        let author = Author { user_id: user, agent_id, sources: &sources, text_config, at };
        change::apply(&mut tx, &author, &lesson.change).await?;
    }
    tx.commit().await?;
    vectors::wake(app).await;
    Ok(())
}
