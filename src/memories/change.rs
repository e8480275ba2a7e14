//! How memories come and go: one way for the API, for extraction and for the tools of an agent.
//!
//! The same fact is kept once: word for word by a unique hash, nearly so by `likeness`. A fact that
//! contradicts another takes its place; the old one is history.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    likeness,
    model::{self, Action, MAX_CHARS, MAX_TOPIC_CHARS, MAX_TOPICS, MemoryId, Source},
    secrets,
    store::{self, NewMemory, Recorded, Similar},
};
use crate::{
    app::App,
    auth::{Scope, UserId},
    clock,
};

/// How many similar memories are looked at to find a duplicate.
const CANDIDATES: i64 = 5;

/// What is to become of a user's memories.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Learn this.
    Add { memory: String, topics: Vec<String>, expires_at: Option<DateTime<Utc>> },
    /// Learn this in the place of a memory that it corrects or completes.
    Replace { memory_id: MemoryId, memory: String, topics: Vec<String>, expires_at: Option<DateTime<Utc>> },
    /// Erase this memory and its history.
    Forget { memory_id: MemoryId },
}

/// Who asks for a change, and where it comes from.
#[derive(Debug)]
pub struct Author<'a> {
    pub user_id: &'a UserId,
    pub agent_id: Option<&'a str>,
    /// The runs that say so; none: it was told over the API.
    pub sources: &'a [Source],
    pub text_config: &'a str,
    pub at: DateTime<Utc>,
}

impl<'a> Author<'a> {
    /// The user's product, over the API, now.
    pub fn told(app: &'a App, user_id: &'a UserId) -> Self {
        Self { user_id, agent_id: None, sources: &[], text_config: &app.settings.search.text_config, at: clock::now() }
    }
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Added(MemoryId),
    /// It was known: the memory that says so.
    Known(MemoryId),
    Replaced {
        old: MemoryId,
        new: MemoryId,
    },
    Forgotten(MemoryId),
    /// The memory is not there any more.
    Gone,
}

/// Why a text cannot be a memory, as a sentence that goes on after "the memory" or the name of a field.
pub fn check_text(memory: &str) -> Result<(), String> {
    if memory.trim().is_empty() {
        return Err("is empty; give a sentence".into());
    }
    let count = memory.chars().count();
    if count > MAX_CHARS {
        return Err(format!("has {count} characters; use at most {MAX_CHARS}"));
    }
    if memory.contains('\0') {
        return Err("holds a NUL character, which PostgreSQL cannot store; remove it".into());
    }
    match secrets::find(memory) {
        Some(secret) => Err(format!("holds what looks like {secret}, which is not kept; leave it out")),
        None => Ok(()),
    }
}

/// Why these cannot be a memory's topics.
pub fn check_topics(topics: &[String]) -> Result<(), String> {
    if topics.len() > MAX_TOPICS {
        return Err(format!("has {} topics; use at most {MAX_TOPICS}", topics.len()));
    }
    for topic in topics {
        if topic.trim().is_empty() || topic.chars().count() > MAX_TOPIC_CHARS || topic.contains('\0') {
            return Err(format!("has a topic that is empty or longer than {MAX_TOPIC_CHARS} characters; change it"));
        }
    }
    Ok(())
}

/// Makes a change whose texts have been checked. The transaction must hold the user's lock.
pub async fn apply(tx: &mut PgConnection, author: &Author<'_>, change: &Change) -> Result<Changed, sqlx::Error> {
    match change {
        Change::Add { memory, topics, expires_at } => add(tx, author, memory, topics, *expires_at, None).await,
        Change::Replace { memory_id, memory, topics, expires_at } => {
            add(tx, author, memory, topics, *expires_at, Some(*memory_id)).await
        }
        Change::Forget { memory_id } => {
            let was_there = store::forget(tx, author.user_id, *memory_id).await?;
            Ok(if was_there { Changed::Forgotten(*memory_id) } else { Changed::Gone })
        }
    }
}

async fn add(
    tx: &mut PgConnection,
    author: &Author<'_>,
    memory: &str,
    topics: &[String],
    expires_at: Option<DateTime<Utc>>,
    replaces: Option<MemoryId>,
) -> Result<Changed, sqlx::Error> {
    let hash = model::hash(memory);
    if let Some(known) = find_known(tx, author, memory, &hash, replaces).await? {
        confirm(tx, author, known, memory, topics, expires_at).await?;
        // What contradicts a memory that was said before contradicts the one that it was to replace.
        let ends_another = match replaces {
            Some(old) if old != known => store::end(tx, author.user_id, old, known, author.at).await?,
            _ => false,
        };
        return Ok(match replaces {
            Some(old) if ends_another => Changed::Replaced { old, new: known },
            _ => Changed::Known(known),
        });
    }
    let memory_id = insert(tx, author, memory, topics, &hash, expires_at).await?;
    store::add_sources(tx, author.user_id, memory_id, author.sources).await?;
    let ended = match replaces {
        Some(old) => store::end(tx, author.user_id, old, memory_id, author.at).await?,
        None => false,
    };
    let action = if ended { Action::Supersede } else { Action::Add };
    record(tx, author, memory_id, action, memory, topics).await?;
    Ok(match replaces {
        Some(old) if ended => Changed::Replaced { old, new: memory_id },
        _ => Changed::Added(memory_id),
    })
}

async fn insert(
    tx: &mut PgConnection,
    author: &Author<'_>,
    memory: &str,
    topics: &[String],
    hash: &[u8],
    expires_at: Option<DateTime<Utc>>,
) -> Result<MemoryId, sqlx::Error> {
    let memory_id = MemoryId::mint();
    let new = NewMemory {
        user_id: author.user_id,
        memory_id,
        memory,
        topics,
        agent_id: author.agent_id,
        hash,
        is_own: author.sources.is_empty(),
        expires_at,
        text_config: author.text_config,
        at: author.at,
    };
    store::insert(tx, &new).await?;
    Ok(memory_id)
}

/// Puts one memory in the place of several of the same user that say parts of it. Some of them may be gone meanwhile;
/// with fewer than two left nothing is merged.
pub async fn merge(
    tx: &mut PgConnection,
    author: &Author<'_>,
    old: &[MemoryId],
    memory: &str,
    topics: &[String],
) -> Result<Option<MemoryId>, sqlx::Error> {
    let scope = Scope::User(author.user_id.clone());
    let there = store::find_all(&mut *tx, &scope, old).await?;
    let there: Vec<MemoryId> =
        there.iter().filter(|memory| memory.valid_to.is_none()).map(|memory| memory.memory_id).collect();
    if there.len() < 2 {
        return Ok(None);
    }
    let hash = model::hash(memory);
    let heir = if let Some(same) = store::find_by_hash(tx, author.user_id, &hash).await? {
        same.memory_id
    } else {
        let heir = insert(tx, author, memory, topics, &hash, None).await?;
        store::inherit(tx, author.user_id, heir, &there).await?;
        heir
    };
    for old in there.into_iter().filter(|old| *old != heir) {
        store::end(tx, author.user_id, old, heir, author.at).await?;
    }
    record(tx, author, heir, Action::Supersede, memory, topics).await?;
    Ok(Some(heir))
}

/// The memory that says the same. One that is to be replaced says something else, however similar it sounds, unless
/// it is the same word for word.
async fn find_known(
    tx: &mut PgConnection,
    author: &Author<'_>,
    memory: &str,
    hash: &[u8],
    replaces: Option<MemoryId>,
) -> Result<Option<MemoryId>, sqlx::Error> {
    if let Some(same) = store::find_by_hash(tx, author.user_id, hash).await? {
        return Ok(Some(same.memory_id));
    }
    let similar = store::similar(tx, author.user_id, memory, author.text_config, CANDIDATES).await?;
    let is_same = |other: &&Similar| {
        Some(other.memory_id) != replaces && likeness::is_duplicate(memory, &other.memory, other.overlap)
    };
    Ok(similar.iter().find(is_same).map(|same| same.memory_id))
}

/// The known memory gets another source, or becomes the user's own; one that would expire sooner lives longer.
async fn confirm(
    tx: &mut PgConnection,
    author: &Author<'_>,
    known: MemoryId,
    memory: &str,
    topics: &[String],
    expires_at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    store::add_sources(tx, author.user_id, known, author.sources).await?;
    store::confirm(tx, author.user_id, known, topics, expires_at, author.sources.is_empty(), author.at).await?;
    record(tx, author, known, Action::Confirm, memory, topics).await
}

async fn record(
    tx: &mut PgConnection,
    author: &Author<'_>,
    memory_id: MemoryId,
    action: Action,
    memory: &str,
    topics: &[String],
) -> Result<(), sqlx::Error> {
    let event = Recorded {
        user_id: author.user_id,
        memory_id,
        action,
        memory,
        topics,
        source: author.sources.last(),
        at: author.at,
    };
    store::record(tx, &event).await
}
