//! Vectors of messages and memories: made in the background, compared here.
//!
//! [`note`] marks a session in the transaction that stores something said in it, [`wake`] sees to it that a job waits,
//! and [`embed_new`] is that job: it makes the vectors that are missing. [`nearest`] compares a question with all
//! that [`read`] finds in a search's scope. `direction` is what is stored and compared, `kept` what need not be read
//! again.
//!
//! *Architecture Invariant:* without an embedding model nothing here takes a statement. A vector is compared only with
//! vectors of the same model and length; what has none yet is found by its words.

mod direction;
mod indexing;
mod kept;
mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use indexing::embed_new;
pub use kept::KeptVectors;
pub use store::Vectors;

use super::{model::Search, store::Match};
use crate::{
    app::App,
    clock, database,
    jobs::{self, Job},
    sessions::SessionId,
};
use direction::Direction;
use store::Compared;

/// After so long without being done a job counts as lost, or as failed for good, and another one takes its place: a
/// service that was away for some hours must not end all vectors.
const JOB_IS_LOST_AFTER: Duration = Duration::from_hours(2);
/// How many runs, which are mostly two messages each, are compared with a question; of users with more, the last ones of
/// the sessions that were used last.
const MOST_RUNS: i64 = 25_000;
/// How many memories are.
const MOST_MEMORIES: i64 = 50_000;

/// Marks a session in which something was said, in the transaction that stores it.
pub async fn note(app: &App, connection: &mut PgConnection, session_id: &SessionId) -> Result<(), sqlx::Error> {
    if app.embedder.is_none() {
        return Ok(());
    }
    store::note(connection, session_id, clock::now()).await
}

/// Sees to it that a job waits. After the transaction that stored something, and not in it: all runs would wait for one
/// another here. If it fails, the next one, or the clock, does it.
pub async fn wake(app: &App) {
    if app.embedder.is_some()
        && let Err(error) = enqueue(app).await
    {
        tracing::warn!(%error, "The job that makes vectors could not be queued; it will be with the next change.");
    }
}

async fn enqueue(app: &App) -> Result<(), sqlx::Error> {
    // Most find one that waits already, and lock nothing.
    if !store::needs_job(&app.db, JOB_IS_LOST_AFTER).await? {
        return Ok(());
    }
    let mut tx = database::begin(&app.db).await?;
    if store::claim_job(&mut tx, JOB_IS_LOST_AFTER).await? {
        jobs::enqueue(app, &mut tx, &Job::EmbedNew).await?;
    }
    tx.commit().await
}

/// Wakes the job if something waits for it; by the clock, and when a process starts.
pub async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    if app.embedder.is_some() && store::is_something_new(&app.db).await? {
        enqueue(app).await?;
    }
    Ok(())
}

/// At the start of a process: with a model a job looks whether all vectors are of it; without one the next that there is
/// will have all to do.
pub async fn start(app: &App) -> Result<(), sqlx::Error> {
    if app.embedder.is_none() {
        return store::forget_model(&app.db).await;
    }
    let mut tx = database::begin(&app.db).await?;
    jobs::enqueue(app, &mut tx, &Job::EmbedNew).await?;
    tx.commit().await
}

/// The vectors of the search's scope that are of this model.
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

/// Of each session those that are kept if they are all, and all others from the database.
async fn read_sessions(app: &App, search: &Search, model: &str) -> Result<Vec<Arc<Vectors>>, sqlx::Error> {
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for talk in store::talks(&app.db, search, model, MOST_RUNS).await? {
        match app.kept_vectors.get(&talk.session_id, model, &talk.version()) {
            Some(vectors) if talk.is_complete => rows.push(vectors),
            _ => missing.push(talk),
        }
    }
    if missing.is_empty() {
        return Ok(rows);
    }
    let mut read = store::of_sessions(&app.db, &missing, model).await?;
    for talk in missing {
        let vectors = read.remove(&talk.session_id).unwrap_or_else(|| Vectors::none_of(&talk.session_id));
        let vectors = Arc::new(vectors);
        if talk.is_complete && talk.is_whole() {
            app.kept_vectors.keep(&talk.session_id, model, talk.version(), &vectors);
        }
        rows.push(vectors);
    }
    Ok(rows)
}

/// Of those that were made between the two times, the `limit` that point nearest to where the question points, nearest
/// first, with their cosines.
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
