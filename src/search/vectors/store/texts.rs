//! Texts without a vector, and the vectors that are made of them.

use sqlx::PgPool;

use super::undone::{Noted, keys};
use crate::{database::tenants_with, model::MemoryId};

/// A message without a vector of the current model.
#[derive(Debug)]
pub(in crate::search::vectors) struct MessageText {
    tenant_id: String,
    session_id: String,
    seq: i64,
    index: i32,
    pub(in crate::search::vectors) text: String,
}

/// Messages of these sessions without a vector of the current model.
pub(in crate::search::vectors) async fn messages_without(
    db: &PgPool,
    sessions: &[Noted],
    model: &str,
    limit: i64,
) -> Result<Vec<MessageText>, sqlx::Error> {
    let (tenants, ids) = keys(sessions);
    sqlx::query_as!(
        MessageText,
        r#"
        select dirty.tenant_id as "tenant_id!", dirty.session_id as "session_id!", m.seq as "seq!", m.index as "index!",
               m.content as "text!"
        from unnest($1::text[], $2::text[]) as dirty (tenant_id, session_id)
        join messages m using (tenant_id, session_id)
        where m.words is not null
          and m.content ~ '\S'
          and (
              select v.embedding_model from message_vectors v
              where v.tenant_id = m.tenant_id and v.session_id = m.session_id and v.seq = m.seq and v.index = m.index
          ) is distinct from $3
        limit $4
        "#,
        &tenants as &[&str],
        &ids as &[&str],
        model,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` tenants after this one with current memories.
pub(in crate::search::vectors) async fn tenants_with_memories(
    db: &PgPool,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, sqlx::Error> {
    tenants_with!("memories", "valid_to is null", after, limit).fetch_all(db).await
}

/// A current memory without a vector of the current model.
#[derive(Debug)]
pub(in crate::search::vectors) struct MemoryText {
    tenant_id: String,
    user_id: String,
    memory_id: MemoryId,
    pub(in crate::search::vectors) text: String,
}

/// Current memories of these tenants without a vector of the model, or without any vector if no model is given.
pub(in crate::search::vectors) async fn memories_without(
    db: &PgPool,
    tenants: &[String],
    model: Option<&str>,
    limit: i64,
) -> Result<Vec<MemoryText>, sqlx::Error> {
    // Three ranges of the index, so that memories with a vector of the model are not read.
    sqlx::query_as!(
        MemoryText,
        r#"
        select m.tenant_id as "tenant_id!", m.user_id as "user_id!", m.memory_id as "memory_id!: MemoryId",
               m.memory as "text!"
        from unnest($1::text[]) as tenant (tenant_id) cross join lateral (
            select tenant_id, user_id, memory_id, memory from memories
            where tenant_id = tenant.tenant_id and valid_to is null and embedding_model is null
            union all
            select tenant_id, user_id, memory_id, memory from memories
            where tenant_id = tenant.tenant_id and valid_to is null and embedding_model < $2
            union all
            select tenant_id, user_id, memory_id, memory from memories
            where tenant_id = tenant.tenant_id and valid_to is null and embedding_model > $2
        ) m
        limit $3
        "#,
        tenants,
        model,
        limit,
    )
    .fetch_all(db)
    .await
}

/// A row with its stored vector; empty if the model refuses the text.
#[derive(Debug)]
pub(in crate::search::vectors) struct Embedded<T> {
    pub(in crate::search::vectors) row: T,
    pub(in crate::search::vectors) embedding: Vec<u8>,
}

/// Stores the vectors of messages; deleted messages are skipped.
///
/// Whoever deletes a message locks its session first. So they either wait for this statement, and then find the vector,
/// or come first: then the lock waits, the message's row is read again, and it is skipped.
pub(in crate::search::vectors) async fn keep_of_messages(
    db: &PgPool,
    model: &str,
    embedded: &[Embedded<MessageText>],
) -> Result<(), sqlx::Error> {
    let tenants: Vec<&str> = embedded.iter().map(|it| it.row.tenant_id.as_str()).collect();
    let sessions: Vec<&str> = embedded.iter().map(|it| it.row.session_id.as_str()).collect();
    let seqs: Vec<i64> = embedded.iter().map(|it| it.row.seq).collect();
    let indexes: Vec<i32> = embedded.iter().map(|it| it.row.index).collect();
    let vectors: Vec<&[u8]> = embedded.iter().map(|it| it.embedding.as_slice()).collect();
    sqlx::query!(
        r#"
        with made as materialized (
            select *
            from unnest($1::text[], $2::text[], $3::bigint[], $4::integer[], $5::bytea[])
                as made (tenant_id, session_id, seq, index, embedding)
        ), of_user as (
            select made.*, r.created_at as said_at
            from made join sessions s using (tenant_id, session_id) join runs r using (tenant_id, session_id, seq)
            where made.index = 0 and r.message_id is not null
            order by tenant_id, session_id, seq
            for key share of s for share of r
        ), answer as (
            select made.*, o.answered_at as said_at
            from made join sessions s using (tenant_id, session_id) join outcomes o using (tenant_id, session_id, seq)
            where made.index = o.answer_index
            order by tenant_id, session_id, seq
            for key share of s for share of o
        ), step as (
            select made.*, p.created_at as said_at
            from made join sessions s using (tenant_id, session_id)
            join run_steps p using (tenant_id, session_id, seq, index)
            order by tenant_id, session_id, seq, index
            for key share of s for share of p
        )
        insert into message_vectors (tenant_id, session_id, seq, index, embedding, embedding_model, said_at)
        select tenant_id, session_id, seq, index, embedding, $6, said_at from of_user
        union all
        select tenant_id, session_id, seq, index, embedding, $6, said_at from answer
        union all
        select tenant_id, session_id, seq, index, embedding, $6, said_at from step
        on conflict (tenant_id, session_id, seq, index) do update set
            embedding = excluded.embedding,
            embedding_model = excluded.embedding_model
        "#,
        &tenants as &[&str],
        &sessions as &[&str],
        &seqs,
        &indexes,
        &vectors as &[&[u8]],
        model,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores the vectors of memories whose text has not changed meanwhile.
pub(in crate::search::vectors) async fn keep_of_memories(
    db: &PgPool,
    model: &str,
    embedded: &[Embedded<MemoryText>],
) -> Result<(), sqlx::Error> {
    let tenants: Vec<&str> = embedded.iter().map(|it| it.row.tenant_id.as_str()).collect();
    let users: Vec<&str> = embedded.iter().map(|it| it.row.user_id.as_str()).collect();
    let ids: Vec<uuid::Uuid> = embedded.iter().map(|it| it.row.memory_id.0).collect();
    let texts: Vec<&str> = embedded.iter().map(|it| it.row.text.as_str()).collect();
    let vectors: Vec<&[u8]> = embedded.iter().map(|it| it.embedding.as_slice()).collect();
    sqlx::query!(
        r#"
        update memories m
        set embedding = made.embedding, embedding_model = $6
        from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::bytea[])
            as made (tenant_id, user_id, memory_id, memory, embedding)
        where m.tenant_id = made.tenant_id and m.user_id = made.user_id and m.memory_id = made.memory_id
          and m.memory = made.memory
        "#,
        &tenants as &[&str],
        &users as &[&str],
        &ids,
        &texts as &[&str],
        &vectors as &[&[u8]],
        model,
    )
    .execute(db)
    .await?;
    Ok(())
}
