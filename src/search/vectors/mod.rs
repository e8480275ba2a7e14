//! Vectors of messages and memories: computed in the background, compared here.
//!
//! [`note`] marks a session dirty in the transaction that stores a message, [`wake`] ensures that a job is queued, and
//! [`embed_new`] is that job: it computes the missing vectors. [`nearest`] compares a question with everything that
//! [`read`] finds in the scope of a search. `direction` is the stored and compared form, `kept` the cache.
//!
//! *Architecture Invariant:* without an embedding model nothing here executes a statement, except [`start`]. A vector
//! is compared only with vectors of the same model and length; a text without one is found by its words.

mod direction;
mod indexing;
mod kept;
mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use self::indexing::embed_new;
pub use self::kept::KeptVectors;
pub use self::store::Vectors;

use self::{direction::Direction, store::Compared};
use super::{model::Search, store::Match};
use crate::{
    app::App,
    clock, database,
    jobs::{self, Job},
    model::{SessionId, TenantId},
};

/// Time after which a waiting job counts as lost, or as failed for good, and is replaced. Otherwise an embedding
/// service that is down for some hours would stop the computation for ever.
const JOB_IS_LOST_AFTER: Duration = Duration::from_hours(2);
/// Maximum number of runs (mostly two messages each) that are compared with a question. If a user has more, the latest
/// runs of the most recently used sessions are taken.
const MOST_RUNS: i64 = 25_000;
/// Maximum number of memories that are compared with a question.
const MOST_MEMORIES: i64 = 50_000;

/// Marks a session dirty for embedding, in the transaction that stores a message.
pub async fn note(
    app: &App,
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
) -> Result<(), sqlx::Error> {
    if app.embedder.is_none() {
        return Ok(());
    }
    store::note(connection, tenant, session_id, clock::now()).await
}

/// Ensures that a job is queued. Call it after the commit: within the transaction, all runs would wait for one another
/// at the row lock. If it fails, the next call or the periodic [`sweep`] makes up for it.
pub async fn wake(app: &App) {
    if app.embedder.is_some()
        && let Err(error) = Box::pin(enqueue(app)).await
    {
        tracing::warn!(%error, "The job that makes vectors could not be queued; it will be with the next change.");
    }
}

async fn enqueue(app: &App) -> Result<(), sqlx::Error> {
    // Usually a job is queued already; then no lock is taken.
    if !store::needs_job(&app.db, JOB_IS_LOST_AFTER).await? {
        return Ok(());
    }
    let mut tx = database::begin(&app.db).await?;
    if store::claim_job(&mut tx, JOB_IS_LOST_AFTER).await? {
        jobs::enqueue(app, &mut tx, &Job::EmbedNew).await?;
    }
    tx.commit().await
}

/// Queues the job if anything has no vector yet; runs periodically.
pub async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    if app.embedder.is_some() && indexing::is_something_new(app).await? {
        enqueue(app).await?;
    }
    Ok(())
}

/// Runs at process start. With an embedding model, it queues a job that checks whether all vectors are of this model.
/// Without one, it clears the stored model, so that the next model starts from all sessions.
pub async fn start(app: &App) -> Result<(), sqlx::Error> {
    if app.embedder.is_none() {
        return store::forget_model(&app.db).await;
    }
    let mut tx = database::begin(&app.db).await?;
    jobs::enqueue(app, &mut tx, &Job::EmbedNew).await?;
    tx.commit().await
}

/// The vectors in the scope of the search that belong to this model.
pub async fn read(app: &App, search: &Search, model: &str) -> Result<Vec<Arc<Vectors>>, sqlx::Error> {
    let mut rows = Vec::new();
    if search.messages {
        rows = read_sessions(app, search, model).await?;
    }
    if search.memories {
        rows.push(Arc::new(store::of_memories(&app.db, search, model, MOST_MEMORIES).await?));
    }
    Ok(rows)
}

/// Takes the vectors of a session from the cache if they are complete and current, and those of all others from the
/// database.
async fn read_sessions(app: &App, search: &Search, model: &str) -> Result<Vec<Arc<Vectors>>, sqlx::Error> {
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    let tenant = search.scope.tenant();
    for talk in store::talks(&app.db, search, model, MOST_RUNS).await? {
        match app.room::<KeptVectors>().get(tenant, &talk.session_id, model, &talk.version()) {
            Some(vectors) if talk.is_complete => rows.push(vectors),
            _ => missing.push(talk),
        }
    }
    if missing.is_empty() {
        return Ok(rows);
    }
    let mut read = store::of_sessions(&app.db, tenant, &missing, model).await?;
    for talk in missing {
        let vectors = read.remove(&talk.session_id).unwrap_or_else(|| Vectors::none_of(&talk.session_id));
        let vectors = Arc::new(vectors);
        if talk.is_complete && talk.is_whole() {
            app.room::<KeptVectors>().keep(tenant, &talk.session_id, model, talk.version(), &vectors);
        }
        rows.push(vectors);
    }
    Ok(rows)
}

/// The `limit` nearest rows between the two times, nearest first, with their cosine similarities.
pub fn nearest(
    rows: &[Arc<Vectors>],
    question: &[f32],
    (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    limit: usize,
) -> Vec<Match> {
    let question = Direction::of(question);
    let compared = rows.iter().flat_map(|rows| rows.compare(&question));
    let is_asked_for =
        |row: &Compared<'_>| from.is_none_or(|from| row.created_at >= from) && to.is_none_or(|to| row.created_at < to);
    let mut near: Vec<Compared<'_>> = compared.filter(is_asked_for).collect();
    if near.len() > limit {
        near.select_nth_unstable_by(limit, Compared::order);
        near.truncate(limit);
    }
    near.sort_unstable_by(Compared::order);
    near.into_iter().filter_map(Compared::into_match).collect()
}
