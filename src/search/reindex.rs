//! `colloquy reindex`: recomputes the words of stored texts after a change of `search.text_config`.

use sqlx::PgPool;
use uuid::Uuid;

use super::store::reindexing::{next_memories, next_messages};

/// The number of rows processed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    pub messages: i64,
    pub memories: i64,
}

/// Processes all messages and memories in batches. Servers may run meanwhile. It can be restarted after an
/// interruption: rows whose words are up to date are not written.
pub async fn reindex(db: &PgPool, text_config: &str) -> Result<Reindexed, sqlx::Error> {
    let mut reindexed = Reindexed::default();
    let (mut session_id, mut seq, mut index) = (String::new(), 0, 0);
    while let Some(last) = next_messages(db, text_config, (&session_id, seq, index)).await? {
        reindexed.messages += last.count;
        (session_id, seq, index) = (last.session_id, last.seq, last.index);
        tracing::info!(messages = reindexed.messages, "Messages have their words anew.");
    }
    let (mut user_id, mut memory_id) = (String::new(), Uuid::nil());
    while let Some(last) = next_memories(db, text_config, (&user_id, memory_id)).await? {
        reindexed.memories += last.count;
        (user_id, memory_id) = (last.user_id, last.memory_id);
        tracing::info!(memories = reindexed.memories, "Memories have their words anew.");
    }
    Ok(reindexed)
}
