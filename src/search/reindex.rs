//! `colloquy reindex`: the words of what is stored, told apart anew after `search.text_config` has changed.

use sqlx::PgPool;
use uuid::Uuid;

/// So many rows are changed at a time, so that servers beside it need not wait long for any of them.
const BATCH: i64 = 1_000;

/// What was looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    pub messages: i64,
    pub memories: i64,
}

/// Goes through all messages and memories, a batch at a time. Servers may run meanwhile. What breaks off may be begun
/// again: rows that have the right words already are not written.
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

/// The last message of a batch.
struct LastMessage {
    session_id: String,
    seq: i64,
    index: i32,
    count: i64,
}

async fn next_messages(
    db: &PgPool,
    text_config: &str,
    (session_id, seq, index): (&str, i64, i32),
) -> Result<Option<LastMessage>, sqlx::Error> {
    sqlx::query_as!(
        LastMessage,
        r#"
        with batch as (
            select session_id, seq, index, search_words($1::text::regconfig, content) as words
            from messages
            where (session_id, seq, index) > ($2, $3, $4) and words is not null
            order by session_id, seq, index
            limit $5
        ), changed as (
            update messages m
            set words = batch.words
            from batch
            where m.session_id = batch.session_id and m.seq = batch.seq and m.index = batch.index
              and m.words is distinct from batch.words
        )
        select session_id, seq, index, (select count(*) from batch) as "count!"
        from batch
        order by session_id desc, seq desc, index desc
        limit 1
        "#,
        text_config,
        session_id,
        seq,
        index,
        BATCH,
    )
    .fetch_optional(db)
    .await
}

/// The last memory of a batch.
struct LastMemory {
    user_id: String,
    memory_id: Uuid,
    count: i64,
}

/// A memory may be edited meanwhile: its words are of what it says when they are written.
async fn next_memories(
    db: &PgPool,
    text_config: &str,
    (user_id, memory_id): (&str, Uuid),
) -> Result<Option<LastMemory>, sqlx::Error> {
    sqlx::query_as!(
        LastMemory,
        r#"
        with batch as (
            select user_id, memory_id
            from memories
            where (user_id, memory_id) > ($2, $3)
            order by user_id, memory_id
            limit $4
        ), changed as (
            update memories m
            set words = search_words($1::text::regconfig, m.memory)
            from batch
            where m.user_id = batch.user_id and m.memory_id = batch.memory_id
              and m.words is distinct from search_words($1::text::regconfig, m.memory)
        )
        select user_id, memory_id, (select count(*) from batch) as "count!"
        from batch
        order by user_id desc, memory_id desc
        limit 1
        "#,
        text_config,
        user_id,
        memory_id,
        BATCH,
    )
    .fetch_optional(db)
    .await
}
