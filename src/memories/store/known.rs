//! The memories that may state the same as a new one.

use sqlx::PgConnection;

use crate::{
    model::{Memory, MemoryId, TenantId, UserId},
    search::store::memories::{MemoryRow, select_memories},
};

/// The memory with this hash that is not superseded, locked against its deletion.
pub async fn find_by_hash(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    hash: &[u8],
) -> Result<Option<Memory>, sqlx::Error> {
    let row = select_memories!(
        "where m.tenant_id = $1 and m.user_id = $2 and m.hash = $3 and m.valid_to is null for key share",
        tenant.as_str(),
        user.as_str(),
        hash,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(MemoryRow::into_memory))
}

/// Locks a memory against its deletion. `false` if it has just been deleted or superseded.
pub async fn hold(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    memory_id: MemoryId,
) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        "select 1 from memories
         where tenant_id = $1 and user_id = $2 and memory_id = $3 and valid_to is null
         for key share",
        tenant.as_str(),
        user.as_str(),
        memory_id as MemoryId,
    );
    Ok(held.fetch_optional(connection).await?.is_some())
}

/// A current memory that shares words with a text.
#[derive(Debug)]
pub struct Similar {
    pub memory_id: MemoryId,
    pub memory: String,
    /// Jaccard index of the two sets of words, 0 to 1.
    pub overlap: f64,
}

/// The current memories with the largest overlap of words with `text`, the most similar first.
pub async fn similar(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    text: &str,
    text_config: &str,
    limit: i64,
) -> Result<Vec<Similar>, sqlx::Error> {
    sqlx::query_as!(
        Similar,
        r#"
        with asked as (
            select tsvector_to_array(search_words($4::text::regconfig, $3)) as words
        ), any_of_them as (
            select string_agg('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''', '|')::tsquery as query
            from asked, unnest(words) word
        )
        select memory_id as "memory_id: MemoryId", memory, shared.count::float8 / (
                   length(m.words) + cardinality(asked.words) - shared.count
               ) as "overlap!"
        from any_of_them, asked, memories m, lateral (
            select count(*) from unnest(tsvector_to_array(m.words)) word where word = any(asked.words)
        ) shared
        where m.tenant_id = $1
          and m.user_id = $2
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
          and m.words @@ any_of_them.query
        order by 3 desc, 1
        limit $5
        "#,
        tenant.as_str(),
        user.as_str(),
        text,
        text_config,
        limit,
    )
    .fetch_all(connection)
    .await
}
