//! The statements of `colloquy reindex`: they recompute the words of the next batch of rows of a table, of all tenants.
//!
//! Words are computed within the update, so that they match a text that is changed at the same time. Rows without words
//! have none on purpose: the text of a tool, or of a message that was deleted.

use sqlx::PgPool;
use uuid::Uuid;

/// Rows per batch; small, so that running servers do not wait long for row locks.
const BATCH: i64 = 1_000;

/// A place in the order of the batches: the last row of one.
#[derive(Debug, Default)]
pub struct LastMessage {
    pub tenant_id: String,
    pub session_id: String,
    pub seq: i64,
    /// Only for `run_steps`, of which a run has several.
    pub index: i32,
    /// How many rows of the batch have words.
    pub count: i64,
}

/// The users' messages after this place. `None` if there are no more.
pub async fn next_runs(
    db: &PgPool,
    text_config: &str,
    after: &LastMessage,
) -> Result<Option<LastMessage>, sqlx::Error> {
    sqlx::query_as!(
        LastMessage,
        r#"
        with batch as (
            select tenant_id, session_id, seq, words is not null as has_words
            from runs
            where (tenant_id, session_id, seq) > ($2, $3, $4)
            order by tenant_id, session_id, seq
            limit $5
        ), changed as (
            update runs r
            set words = search_words($1::text::regconfig, r.input)
            from batch
            where r.tenant_id = batch.tenant_id and r.session_id = batch.session_id and r.seq = batch.seq
              and r.words is not null and r.words is distinct from search_words($1::text::regconfig, r.input)
        )
        select tenant_id, session_id, seq, 0 as "index!",
               (select count(*) from batch where has_words) as "count!"
        from batch
        order by tenant_id desc, session_id desc, seq desc
        limit 1
        "#,
        text_config,
        after.tenant_id,
        after.session_id,
        after.seq,
        BATCH,
    )
    .fetch_optional(db)
    .await
}

/// As [`next_runs`], for the messages between the user's and the answer.
pub async fn next_steps(
    db: &PgPool,
    text_config: &str,
    after: &LastMessage,
) -> Result<Option<LastMessage>, sqlx::Error> {
    sqlx::query_as!(
        LastMessage,
        r#"
        with batch as (
            select tenant_id, session_id, seq, index, words is not null as has_words
            from run_steps
            where (tenant_id, session_id, seq, index) > ($2, $3, $4, $5)
            order by tenant_id, session_id, seq, index
            limit $6
        ), changed as (
            update run_steps p
            set words = search_words($1::text::regconfig, p.content)
            from batch
            where p.tenant_id = batch.tenant_id and p.session_id = batch.session_id and p.seq = batch.seq
              and p.index = batch.index
              and p.words is not null and p.words is distinct from search_words($1::text::regconfig, p.content)
        )
        select tenant_id, session_id, seq, index, (select count(*) from batch where has_words) as "count!"
        from batch
        order by tenant_id desc, session_id desc, seq desc, index desc
        limit 1
        "#,
        text_config,
        after.tenant_id,
        after.session_id,
        after.seq,
        after.index,
        BATCH,
    )
    .fetch_optional(db)
    .await
}

/// As [`next_runs`], for the answers.
pub async fn next_outcomes(
    db: &PgPool,
    text_config: &str,
    after: &LastMessage,
) -> Result<Option<LastMessage>, sqlx::Error> {
    sqlx::query_as!(
        LastMessage,
        r#"
        with batch as (
            select tenant_id, session_id, seq, words is not null as has_words
            from outcomes
            where (tenant_id, session_id, seq) > ($2, $3, $4)
            order by tenant_id, session_id, seq
            limit $5
        ), changed as (
            update outcomes o
            set words = search_words($1::text::regconfig, o.content)
            from batch
            where o.tenant_id = batch.tenant_id and o.session_id = batch.session_id and o.seq = batch.seq
              and o.words is not null and o.words is distinct from search_words($1::text::regconfig, o.content)
        )
        select tenant_id, session_id, seq, 0 as "index!",
               (select count(*) from batch where has_words) as "count!"
        from batch
        order by tenant_id desc, session_id desc, seq desc
        limit 1
        "#,
        text_config,
        after.tenant_id,
        after.session_id,
        after.seq,
        BATCH,
    )
    .fetch_optional(db)
    .await
}

/// A place in the order of the batches: the last memory of one.
#[derive(Debug, Default)]
pub struct LastMemory {
    pub tenant_id: String,
    pub user_id: String,
    pub memory_id: Uuid,
    pub count: i64,
}

/// As [`next_runs`], for memories.
pub async fn next_memories(
    db: &PgPool,
    text_config: &str,
    after: &LastMemory,
) -> Result<Option<LastMemory>, sqlx::Error> {
    sqlx::query_as!(
        LastMemory,
        r#"
        with batch as (
            select tenant_id, user_id, memory_id
            from memories
            where (tenant_id, user_id, memory_id) > ($2, $3, $4)
            order by tenant_id, user_id, memory_id
            limit $5
        ), changed as (
            update memories m
            set words = search_words($1::text::regconfig, m.memory)
            from batch
            where m.tenant_id = batch.tenant_id and m.user_id = batch.user_id and m.memory_id = batch.memory_id
              and m.words is distinct from search_words($1::text::regconfig, m.memory)
        )
        select tenant_id, user_id, memory_id, (select count(*) from batch) as "count!"
        from batch
        order by tenant_id desc, user_id desc, memory_id desc
        limit 1
        "#,
        text_config,
        after.tenant_id,
        after.user_id,
        after.memory_id,
        BATCH,
    )
    .fetch_optional(db)
    .await
}
