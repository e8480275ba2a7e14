//! The job that computes missing vectors.

use anyhow::Context;

use super::{
    direction::Direction,
    store::{self, Embedded},
};
use crate::{
    app::App,
    llm::{Embedder, ErrorKind},
};

/// Dirty sessions per batch.
const SESSIONS: i64 = 50;
/// Tenants looked at by one statement.
const TENANTS: i64 = 1_000;
/// Sessions that one statement marks dirty.
const MARKED: i64 = 10_000;

/// Computes all missing vectors of the current model. After a change of the model, or of the length of its vectors,
/// these are all of them. Searches continue meanwhile, with words and the vectors that are done.
pub async fn embed_new(app: &App) -> anyhow::Result<()> {
    // The settings may have changed since the job was queued.
    let Some(embedder) = &app.embedder else { return Ok(()) };
    // New dirty marks enqueue their own job from now on, unless this one fails and is retried.
    store::set_job_waits(&app.db, false).await?;
    let done = embed_missing(app, embedder).await;
    if done.is_err() {
        store::set_job_waits(&app.db, true).await?;
    }
    done
}

async fn embed_missing(app: &App, embedder: &Embedder) -> anyhow::Result<()> {
    // A probe: whether the model can be reached, and how long its vectors are.
    let word = embedder.embed(&["word"]).await?;
    let model = embedder.name_for(word.first().map_or(0, Vec::len));
    change_model(app, &model).await?;
    embed_memories(app, embedder, &model).await?;
    embed_messages(app, embedder, &model).await
}

/// If the model is another one than before, marks all sessions dirty. The model is stored last, so that a process that
/// dies meanwhile leaves the rest to the next one.
async fn change_model(app: &App, model: &str) -> Result<(), sqlx::Error> {
    let before = store::model(&app.db).await?;
    if before.as_deref() == Some(model) {
        return Ok(());
    }
    tracing::info!(model, before, "Another embedding model than before: all vectors are made anew.");
    let mut last = (String::new(), String::new());
    while let Some(next) = store::note_next(&app.db, (&last.0, &last.1), MARKED).await? {
        last = next;
    }
    store::set_model(&app.db, model).await
}

/// Goes through the tenants once.
async fn embed_memories(app: &App, embedder: &Embedder, model: &str) -> anyhow::Result<()> {
    let batch = i64::try_from(embedder.batch_size())?;
    let mut after = String::new();
    loop {
        let tenants = store::tenants_with_memories(&app.db, &after, TENANTS).await?;
        let Some(last) = tenants.last() else { return Ok(()) };
        loop {
            let texts = store::memories_without(&app.db, &tenants, Some(model), batch).await?;
            if texts.is_empty() {
                break;
            }
            let embedded = embed(embedder, texts, |text| &text.text).await?;
            store::keep_of_memories(&app.db, model, &embedded).await?;
        }
        after.clone_from(last);
    }
}

/// Goes around the tenants until no session is dirty, a batch of sessions at a time: a tenant with many dirty sessions
/// keeps no other tenant waiting.
async fn embed_messages(app: &App, embedder: &Embedder, model: &str) -> anyhow::Result<()> {
    let batch = i64::try_from(embedder.batch_size())?;
    let mut after = String::new();
    loop {
        let tenants = store::tenants_with_noted(&app.db, &after, TENANTS).await?;
        let Some(last) = tenants.last() else {
            if after.is_empty() {
                return Ok(());
            }
            after.clear();
            continue;
        };
        let sessions = store::noted(&app.db, &tenants, SESSIONS).await?;
        loop {
            let texts = store::messages_without(&app.db, &sessions, model, batch).await?;
            if texts.is_empty() {
                break;
            }
            let embedded = embed(embedder, texts, |text| &text.text).await?;
            store::keep_of_messages(&app.db, model, &embedded).await?;
        }
        store::are_done(&app.db, &sessions).await?;
        after.clone_from(last);
    }
}

/// Whether there are dirty sessions, or memories without a vector.
pub(super) async fn is_something_new(app: &App) -> Result<bool, sqlx::Error> {
    if store::has_noted(&app.db).await? {
        return Ok(true);
    }
    let mut after = String::new();
    loop {
        let tenants = store::tenants_with_memories(&app.db, &after, TENANTS).await?;
        let Some(last) = tenants.last() else { return Ok(false) };
        if !store::memories_without(&app.db, &tenants, None, 1).await?.is_empty() {
            return Ok(true);
        }
        after.clone_from(last);
    }
}

/// If the model refuses a batch, each text is embedded alone. A text that is refused alone gets an empty vector, so
/// that it does not block the others.
async fn embed<T>(embedder: &Embedder, rows: Vec<T>, text: impl Fn(&T) -> &str) -> anyhow::Result<Vec<Embedded<T>>> {
    let texts: Vec<&str> = rows.iter().map(&text).collect();
    let vectors = match embedder.embed(&texts).await {
        Ok(vectors) => vectors.iter().map(|vector| Direction::of(vector).to_bytes()).collect(),
        Err(error) if error.kind == ErrorKind::Refused => one_by_one(embedder, &texts).await?,
        Err(error) => return Err(error).context("texts have no vectors yet"),
    };
    Ok(rows.into_iter().zip(vectors).map(|(row, embedding)| Embedded { row, embedding }).collect())
}

async fn one_by_one(embedder: &Embedder, texts: &[&str]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut vectors = Vec::new();
    for text in texts {
        vectors.push(match embedder.embed(&[*text]).await {
            Ok(vector) => vector.first().map(|vector| Direction::of(vector).to_bytes()).unwrap_or_default(),
            Err(error) if error.kind == ErrorKind::Refused => {
                tracing::warn!(
                    detail = error.detail,
                    chars = text.chars().count(),
                    "A text is refused: it is found by its words alone."
                );
                Vec::new()
            }
            Err(error) => return Err(error).context("texts have no vectors yet"),
        });
    }
    Ok(vectors)
}
