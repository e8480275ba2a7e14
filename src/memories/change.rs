//! How memories are added, superseded and forgotten: shared by the API, extraction and an agent's tools.
//!
//! Memories are deduplicated: exact duplicates by a unique hash, near-duplicates by `likeness`. A memory that
//! contradicts another supersedes it; the old one is kept as history.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    likeness, secrets,
    store::{self, Confirmation, NewMemory, Recorded, Similar},
};
use crate::{
    app::App,
    clock,
    model::{
        MemoryId, Scope, TenantId, UserId, memory as model,
        memory::{Action, MAX_CHARS, MAX_TOPIC_CHARS, MAX_TOPICS, Source},
    },
    search::store::memories,
};

/// How many similar memories are checked for a duplicate.
const CANDIDATES: i64 = 5;

/// A requested change of a user's memories.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Add a memory.
    Add { memory: String, topics: Vec<String>, expires_at: Option<DateTime<Utc>> },
    /// Add a memory that supersedes one that it corrects or completes.
    Replace { memory_id: MemoryId, memory: String, topics: Vec<String>, expires_at: Option<DateTime<Utc>> },
    /// Erase a memory and its history.
    Forget { memory_id: MemoryId },
}

/// On whose behalf a change is made, and its source.
#[derive(Debug)]
pub struct Author<'a> {
    pub tenant_id: &'a TenantId,
    pub user_id: &'a UserId,
    pub agent_id: Option<&'a str>,
    /// The messages that state the fact; empty if it came over the API.
    pub sources: &'a [Source],
    pub text_config: &'a str,
    pub at: DateTime<Utc>,
}

impl<'a> Author<'a> {
    /// A change made over the API, now.
    pub fn told(app: &'a App, tenant_id: &'a TenantId, user_id: &'a UserId) -> Self {
        let text_config = &app.settings.search.text_config;
        Self { tenant_id, user_id, agent_id: None, sources: &[], text_config, at: clock::now() }
    }
}

/// The outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Added(MemoryId),
    /// The fact was known already; the id of the memory that states it.
    Known(MemoryId),
    Replaced {
        old: MemoryId,
        new: MemoryId,
    },
    Forgotten(MemoryId),
    /// The memory does not exist any more.
    Gone,
}

/// Checks the text of a memory. The error is a phrase to follow "the memory" or the name of a field.
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

/// Checks the topics of a memory. The error is a phrase like that of [`check_text`].
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

/// Applies a change. Its texts must have been checked, and the transaction must hold the user's lock.
pub async fn apply(tx: &mut PgConnection, author: &Author<'_>, change: &Change) -> Result<Changed, sqlx::Error> {
    match change {
        Change::Add { memory, topics, expires_at } => add(tx, author, memory, topics, *expires_at, None).await,
        Change::Replace { memory_id, memory, topics, expires_at } => {
            add(tx, author, memory, topics, *expires_at, Some(*memory_id)).await
        }
        Change::Forget { memory_id } => {
            let was_there = store::forget(tx, author.tenant_id, author.user_id, *memory_id).await?;
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
        // The text is known already, but it still contradicts `old`: the known memory supersedes it.
        let ends_another = match replaces {
            Some(old) if old != known => {
                store::end(tx, author.tenant_id, author.user_id, old, known, author.at).await?
            }
            _ => false,
        };
        return Ok(match replaces {
            Some(old) if ends_another => Changed::Replaced { old, new: known },
            _ => Changed::Known(known),
        });
    }
    let memory_id = insert(tx, author, memory, topics, &hash, expires_at).await?;
    store::add_sources(tx, author.tenant_id, author.user_id, memory_id, author.sources).await?;
    let ended = match replaces {
        Some(old) => store::end(tx, author.tenant_id, author.user_id, old, memory_id, author.at).await?,
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
        tenant_id: author.tenant_id,
        user_id: author.user_id,
        memory_id,
        memory,
        topics,
        agent_id: author.agent_id,
        hash,
        is_own: author.sources.is_empty(),
        sources: author.sources,
        expires_at,
        text_config: author.text_config,
        at: author.at,
    };
    store::insert(tx, &new).await?;
    Ok(memory_id)
}

/// Merges several memories of one user into one that supersedes them. Ids that are gone or superseded by now are
/// skipped; if fewer than two are left, nothing is merged.
pub async fn merge(
    tx: &mut PgConnection,
    author: &Author<'_>,
    old: &[MemoryId],
    memory: &str,
    topics: &[String],
) -> Result<Option<MemoryId>, sqlx::Error> {
    let scope = Scope::User(author.tenant_id.clone(), author.user_id.clone());
    let mut there = memories::find_all(&mut *tx, &scope, old).await?;
    there.retain(|memory| memory.valid_to.is_none());
    if there.len() < 2 {
        return Ok(None);
    }
    // As long as the longest of them, which is for ever if one does not expire.
    let expiries: Option<Vec<_>> = there.iter().map(|memory| memory.expires_at).collect();
    let expires_at = expiries.and_then(|expiries| expiries.into_iter().max());
    let mut parts: Vec<MemoryId> = there.iter().map(|memory| memory.memory_id).collect();
    let hash = model::hash(memory);
    let heir = if let Some(same) = store::find_by_hash(tx, author.tenant_id, author.user_id, &hash).await? {
        let confirmation = Confirmation { topics, expires_at, is_own: false, sources: &[], at: author.at };
        store::confirm(tx, author.tenant_id, author.user_id, same.memory_id, &confirmation).await?;
        parts.push(same.memory_id);
        same.memory_id
    } else {
        insert(tx, author, memory, topics, &hash, expires_at).await?
    };
    store::inherit(tx, author.tenant_id, author.user_id, heir, &parts).await?;
    for old in parts.into_iter().filter(|old| *old != heir) {
        store::end(tx, author.tenant_id, author.user_id, old, heir, author.at).await?;
    }
    record(tx, author, heir, Action::Supersede, memory, topics).await?;
    Ok(Some(heir))
}

/// The existing memory that states the same, if any. The memory to be replaced is no near-duplicate, however similar it
/// is, but an exact match with it counts. It is locked: the API deletes memories without the user's lock.
async fn find_known(
    tx: &mut PgConnection,
    author: &Author<'_>,
    memory: &str,
    hash: &[u8],
    replaces: Option<MemoryId>,
) -> Result<Option<MemoryId>, sqlx::Error> {
    if let Some(same) = store::find_by_hash(tx, author.tenant_id, author.user_id, hash).await? {
        return Ok(Some(same.memory_id));
    }
    let similar = store::similar(tx, author.tenant_id, author.user_id, memory, author.text_config, CANDIDATES).await?;
    let is_same = |other: &&Similar| {
        Some(other.memory_id) != replaces && likeness::is_duplicate(memory, &other.memory, other.overlap)
    };
    for same in similar.iter().filter(is_same) {
        if store::hold(tx, author.tenant_id, author.user_id, same.memory_id).await? {
            return Ok(Some(same.memory_id));
        }
    }
    Ok(None)
}

/// Adds sources and topics to a known memory, or makes it the user's own. Its expiry is only ever extended.
async fn confirm(
    tx: &mut PgConnection,
    author: &Author<'_>,
    known: MemoryId,
    memory: &str,
    topics: &[String],
    expires_at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    store::add_sources(tx, author.tenant_id, author.user_id, known, author.sources).await?;
    let Author { tenant_id, user_id, sources, at, .. } = *author;
    let confirmation = Confirmation { topics, expires_at, is_own: sources.is_empty(), sources, at };
    store::confirm(tx, tenant_id, user_id, known, &confirmation).await?;
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
        tenant_id: author.tenant_id,
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
