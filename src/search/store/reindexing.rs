//! The statements of `colloquy reindex`.

use sqlx::PgPool;
use uuid::Uuid;

/// Rows per batch; small, so that running servers do not wait long for row locks.
const BATCH: i64 = 1_000;

/// The last message of a batch.
pub struct LastMessage {
    pub session_id: String,
    pub seq: i64,
    pub index: i32,
    pub count: i64,
}

/// Recomputes the words of the next batch of messages. `None` if there are no more.
pub async fn next_messages(
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
pub struct LastMemory {
    pub user_id: String,
    pub memory_id: Uuid,
    pub count: i64,
}

/// As [`next_messages`], for memories. The words are computed within the update, so they match a concurrently edited
/// text.
pub async fn next_memories(
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
