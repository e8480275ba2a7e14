//! Extraction of memories from what users say: unread turns in, changes of memories out.
//!
//! A run is marked as unread in the statement that settles it; an appended one by [`store::note_turns`]. [`wake`] then
//! enqueues a job unless one is waiting; the caller does not wait for it. [`learn`] is the job; `reading` processes the
//! unread turns of one user and stores the result in the transaction that marks the turns as read. `prompt` is what the
//! model is told, `reply` parses its answer, `grounding` filters what the user did not say.
//!
//! *Architecture Invariant:* a model sees memories under small numbers and refers to them by these, so it cannot name a
//! memory that it was not shown, nor one of another user. The whole answer is validated before any of it is stored.

mod grounding;
mod prompt;
mod reading;
mod reply;

use std::sync::Arc;

use chrono::TimeDelta;

use super::{
    change::{self, Author, Change},
    store::{self, Turn},
};
use crate::{
    agents::Agent,
    app::App,
    clock,
    config::{AgentMemorySettings, AgentSettings},
    database,
    jobs::{self, Job},
    model::{Memory, Scope, TenantId, UserId, memory::Source},
    search::{self, model::Search, vectors},
    usage::{
        Purpose,
        ask::{self, Question},
    },
};

pub use self::reading::learn;

/// How many of the user's memories a model is shown.
const SHOWN: usize = 10;
/// How many jobs one [`sweep`] queues at most.
const MOST_QUEUED: i64 = 1_000;
/// How many characters of the conversation are searched with to choose the memories to show.
const QUERY_CHARS: usize = 4_000;

/// Whether memories are extracted from the runs of this agent.
pub fn is_on(settings: &AgentSettings) -> bool {
    settings.update_memory_on_run && !settings.enable_agentic_memory
}

/// Ensures that a job is queued for the user's unread turns. Call it after the commit. It runs in the background,
/// because queuing a job takes longer than settling a run. If the process dies first, [`sweep`] queues the job.
pub fn wake(app: &Arc<App>, tenant: &TenantId, user: &UserId) {
    let (of_task, tenant, user) = (app.clone(), tenant.clone(), user.clone());
    app.tasks.spawn(async move {
        if let Err(error) = queue(&of_task, tenant, user).await {
            tracing::warn!(%error, "The job that learns of a user could not be queued; the clock will do it.");
        }
    });
}

/// Queues missing jobs: periodically, at process start, and before jobs are listed. A user whose job has failed for
/// good is skipped: that job waits for a retry, or for the user's next run.
pub async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    for (tenant, user) in jobs::users_without_job(app, MOST_QUEUED).await? {
        queue(app, tenant, user).await?;
    }
    jobs::unpark_learning(app).await?;
    jobs::hasten_learning(app, None).await
}

/// A waiting job is enough: it reads all turns that are unread when it starts.
async fn queue(app: &App, tenant: TenantId, user: UserId) -> Result<(), sqlx::Error> {
    let job = Job::Learn { tenant_id: tenant.clone(), user_id: user.clone() };
    if jobs::is_waiting(app, &app.db, &job).await? {
        return jobs::hasten_learning(app, Some(&job)).await;
    }
    let mut tx = database::begin(&app.db).await?;
    // Check again under the lock: another process may have queued the job. Queuing it again would reset its attempts.
    if store::hold_unread(&mut tx, &tenant, &user).await? && !jobs::is_waiting(app, &mut *tx, &job).await? {
        jobs::enqueue(app, &mut tx, &job).await?;
    }
    tx.commit().await
}

/// The job behind a manual retry: makes the user's turns that were set aside unread again, with all attempts.
pub async fn learn_again(app: &App, tenant: &TenantId, user: &UserId) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, tenant, user).await?;
    if store::take_up_again(&mut tx, tenant, user).await? {
        let job = Job::Learn { tenant_id: tenant.clone(), user_id: user.clone() };
        jobs::enqueue_first(app, &mut tx, &job).await?;
    }
    tx.commit().await
}

/// A change that a model derived from turns, with the messages that state it.
#[derive(Debug)]
pub struct Lesson {
    pub change: Change,
    /// The memory to be superseded or erased.
    pub old: Option<Memory>,
    /// For each message, the place of its turn and its own within the run.
    said_in: Vec<(usize, i32)>,
}

/// Asks the model for changes. Only the cost is stored. An unusable reply is sent back once, with the complaint.
/// `is_asked_for`: a caller waits for the answer.
pub async fn study(
    app: &App,
    agent: &Agent,
    tenant: &TenantId,
    user: Option<&UserId>,
    turns: &[Turn],
    is_asked_for: bool,
) -> anyhow::Result<Vec<Lesson>> {
    let Some(last) = turns.last() else { return Ok(Vec::new()) };
    let messages = prompt::numbered(turns).count();
    if messages == 0 {
        return Ok(Vec::new());
    }
    let settings = &agent.settings.memory;
    let shown = match user {
        Some(user) => memories_to_show(app, tenant, user, turns).await?,
        None => Vec::new(),
    };
    let question = Question {
        tenant_id: tenant,
        session_id: &last.session_id,
        purpose: Purpose::Memory,
        model: agent.memory_model(),
        is_asked_for,
        request: prompt::request(settings, &shown, turns),
    };
    let read = |said: &str, _| reply::parse(said, shown.len(), messages).map_err(|complaint| format!("it {complaint}"));
    let operations = ask::ask(app, question, read, prompt::complaint).await?.value;
    let expires_at =
        settings.expire_after.and_then(|after| clock::now().checked_add_signed(TimeDelta::from_std(after).ok()?));
    let lessons = operations.into_iter().filter_map(|operation| operation.into_lesson(&shown, turns, expires_at));
    Ok(lessons.filter(|lesson| may_be_kept(settings, lesson, turns)).collect())
}

/// The memories most similar to the conversation, filled up with the newest.
async fn memories_to_show(app: &App, tenant: &TenantId, user: &UserId, turns: &[Turn]) -> anyhow::Result<Vec<Memory>> {
    let said: String = turns.iter().flat_map(|turn| [turn.input(), "\n"]).collect();
    let query = said.chars().take(QUERY_CHARS).collect();
    let search = Search { limit: SHOWN, ..Search::of_memories(Scope::User(tenant.clone(), user.clone()), query) };
    let found = search::service::search(app, &search).await?;
    let mut shown: Vec<Memory> = found
        .hits
        .into_iter()
        .filter_map(|hit| match hit.found {
            search::model::FoundItem::Memory(memory) => Some(memory),
            search::model::FoundItem::Message(_) => None,
        })
        .collect();
    for memory in store::newest(&app.db, tenant, user, i64::try_from(SHOWN)?).await? {
        if shown.len() < SHOWN && shown.iter().all(|known| known.memory_id != memory.memory_id) {
            shown.push(memory);
        }
    }
    Ok(shown)
}

/// Drops what must not be stored: secrets, topics excluded for the agent, and facts that are not about the user.
fn may_be_kept(settings: &AgentMemorySettings, lesson: &Lesson, turns: &[Turn]) -> bool {
    let (Change::Add { memory, topics, .. } | Change::Replace { memory, topics, .. }) = &lesson.change else {
        return true;
    };
    if let Err(reason) = change::check_text(memory) {
        tracing::warn!(reason, "Something was not remembered: the memory cannot be kept.");
        return false;
    }
    if !grounding::is_of_user(memory, lesson.said_in.iter().map(|(turn, _)| &turns[*turn])) {
        tracing::info!("Something was not remembered: it only repeats a question, or what was answered to one.");
        return false;
    }
    let has_one_of =
        |wanted: &[String]| topics.iter().any(|topic| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(topic)));
    (settings.topics.is_empty() || has_one_of(&settings.topics)) && !has_one_of(&settings.excluded_topics)
}

/// Stores the lessons and marks the turns as read, in one transaction.
async fn remember(
    app: &App,
    tenant: &TenantId,
    user: &UserId,
    turns: &[Turn],
    lessons: &[Lesson],
) -> anyhow::Result<()> {
    let mut tx = database::begin(&app.db).await?;
    // Lock order: sessions, then the user. An erasure of the user takes the same.
    store::hold_sessions(&mut tx, tenant, turns).await?;
    store::lock_user(&mut tx, tenant, user).await?;
    // Turns that were deleted meanwhile are dropped, and so are turns that another worker has read.
    let taken = store::take_turns(&mut tx, tenant, user, turns).await?;
    let at = clock::now();
    for lesson in lessons {
        let said_in = lesson.said_in.iter().filter(|(turn, _)| taken.contains(turn));
        let sources: Vec<Source> = said_in.map(|(turn, index)| turns[*turn].source(*index)).collect();
        if sources.is_empty() {
            continue;
        }
        let agent_id = turns.first().map(|turn| turn.agent_id.as_str());
        let text_config = &app.settings.search.text_config;
        let author = Author { tenant_id: tenant, user_id: user, agent_id, sources: &sources, text_config, at };
        change::apply(&mut tx, &author, &lesson.change).await?;
    }
    tx.commit().await?;
    vectors::wake(app).await;
    Ok(())
}
