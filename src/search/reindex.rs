//! `colloquy reindex`: recomputes the words of stored texts after a change of `search.text_config`.

use sqlx::PgPool;

use super::store::reindexing::{LastMemory, LastMessage, next_memories, next_outcomes, next_runs, next_steps};

/// The number of rows processed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Users' messages, answers, and the messages between.
    pub messages: i64,
    pub memories: i64,
}

/// Processes all messages and memories in batches. Servers may run meanwhile. It can be restarted after an
/// interruption: rows whose words are up to date are not written.
pub async fn reindex(db: &PgPool, text_config: &str) -> Result<Reindexed, sqlx::Error> {
    let mut reindexed = Reindexed::default();
    macro_rules! messages {
        ($next:ident) => {
            let mut last = LastMessage::default();
            while let Some(next) = $next(db, text_config, &last).await? {
                reindexed.messages += next.count;
                last = next;
                tracing::info!(messages = reindexed.messages, "Messages have their words anew.");
            }
        };
    }
    messages!(next_runs);
    messages!(next_steps);
    messages!(next_outcomes);
    let mut last = LastMemory::default();
    while let Some(next) = next_memories(db, text_config, &last).await? {
        reindexed.memories += next.count;
        last = next;
        tracing::info!(memories = reindexed.memories, "Memories have their words anew.");
    }
    Ok(reindexed)
}
