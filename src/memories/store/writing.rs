//! Statements that change a user's memories. The transaction must hold the user's lock, except for [`delete`] and
//! [`delete_expired`], which take none.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::search::store::memories::{MemoryRow, select_memories};
use crate::{
    memories::line,
    model::{
        Memory, MemoryId, Scope, UserId,
        memory::{Action, Source},
    },
};

/// Takes an advisory lock that serializes the changes of a user's memories until the transaction ends. A check for
/// duplicates thus stays valid until the memory is stored.
pub async fn lock_user(connection: &mut PgConnection, user: &UserId) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('memories of ' || $1, 0))", user.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// A row to insert.
#[derive(Debug)]
pub struct NewMemory<'a> {
    pub user_id: &'a UserId,
    pub memory_id: MemoryId,
    pub memory: &'a str,
    pub topics: &'a [String],
    pub agent_id: Option<&'a str>,
    pub hash: &'a [u8],
    pub is_own: bool,
    pub expires_at: Option<DateTime<Utc>>,
    /// The text search configuration that splits the text into words.
    pub text_config: &'a str,
    pub at: DateTime<Utc>,
}

/// Violates `memories_once` if the user has the same memory already.
pub async fn insert(connection: &mut PgConnection, new: &NewMemory<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into memories (
            user_id, memory_id, memory, topics, agent_id, hash, is_own, created_at, updated_at, valid_from, expires_at,
            words, tokens
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8, $9, search_words($10::text::regconfig, $3), $11)
        "#,
        new.user_id.as_str(),
        new.memory_id as MemoryId,
        new.memory,
        new.topics,
        new.agent_id,
        new.hash,
        new.is_own,
        new.at,
        new.expires_at,
        new.text_config,
        line::tokens_of(new.memory),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The memory with this hash that is not superseded, locked against its deletion.
pub async fn find_by_hash(
    connection: &mut PgConnection,
    user: &UserId,
    hash: &[u8],
) -> Result<Option<Memory>, sqlx::Error> {
    let row = select_memories!(
        "where m.user_id = $1 and m.hash = $2 and m.valid_to is null for key share",
        user.as_str(),
        hash,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(MemoryRow::into_memory))
}

/// Locks a memory against its deletion. `false` if it has just been deleted or superseded.
pub async fn hold(connection: &mut PgConnection, user: &UserId, memory_id: MemoryId) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        "select 1 from memories where user_id = $1 and memory_id = $2 and valid_to is null for key share",
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
    user: &UserId,
    text: &str,
    text_config: &str,
    limit: i64,
) -> Result<Vec<Similar>, sqlx::Error> {
    sqlx::query_as!(
        Similar,
        r#"
        with asked as (
            select tsvector_to_array(search_words($3::text::regconfig, $2)) as words
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
        where m.user_id = $1
          and m.valid_to is null
          and (m.expires_at is null or m.expires_at > now())
          and m.words @@ any_of_them.query
        order by 3 desc, 1
        limit $4
        "#,
        user.as_str(),
        text,
        text_config,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Adds runs as sources of a memory; runs that do not exist any more are skipped.
pub async fn add_sources(
    connection: &mut PgConnection,
    user: &UserId,
    memory_id: MemoryId,
    sources: &[Source],
) -> Result<(), sqlx::Error> {
    let (sessions, seqs): (Vec<&str>, Vec<i64>) =
        sources.iter().map(|source| (source.session_id.as_str(), source.seq)).unzip();
    sqlx::query!(
        r#"
        insert into memory_sources (user_id, memory_id, session_id, seq)
        select $1, $2, r.session_id, r.seq
        from unnest($3::text[], $4::bigint[]) as source (session_id, seq) join runs r using (session_id, seq)
        on conflict do nothing
        "#,
        user.as_str(),
        memory_id as MemoryId,
        &sessions as &[&str],
        &seqs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks a memory as superseded. Its sources stay its own. `false` if it does not exist or was superseded before.
pub async fn end(
    connection: &mut PgConnection,
    user: &UserId,
    memory_id: MemoryId,
    successor: MemoryId,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        r#"
        update memories set valid_to = $4, superseded_by = $3
        where user_id = $1 and memory_id = $2 and valid_to is null
        "#,
        user.as_str(),
        memory_id as MemoryId,
        successor as MemoryId,
        at,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() > 0)
}

/// Gives a merged memory the sources of its parts; it is the user's own if one of them is.
pub async fn inherit(
    connection: &mut PgConnection,
    user: &UserId,
    heir: MemoryId,
    from: &[MemoryId],
) -> Result<(), sqlx::Error> {
    let from: Vec<Uuid> = from.iter().map(|id| id.0).collect();
    sqlx::query!(
        r#"
        with source as (
            insert into memory_sources (user_id, memory_id, session_id, seq)
            select distinct $1, $2::uuid, session_id, seq
            from memory_sources
            where user_id = $1 and memory_id = any($3)
            on conflict do nothing
        )
        update memories
        set is_own = exists (select from memories m where m.user_id = $1 and m.memory_id = any($3) and m.is_own)
        where user_id = $1 and memory_id = $2
        "#,
        user.as_str(),
        heir as MemoryId,
        &from,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// When a memory expires: it is not found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Never,
    At(DateTime<Utc>),
}

impl Expiry {
    fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }
}

/// An edit over the API; absent fields stay unchanged.
#[derive(Debug, Default)]
pub struct Edit {
    pub memory: Option<String>,
    pub topics: Option<Vec<String>>,
    pub expires_at: Option<Expiry>,
}

/// Applies an edit. From now on the memory is the user's own and needs no source. Violates `memories_once` if another
/// memory has the same text.
pub async fn edit(
    connection: &mut PgConnection,
    user: &UserId,
    memory_id: MemoryId,
    edit: &Edit,
    hash: Option<&[u8]>,
    text_config: &str,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update memories
        set memory = coalesce($3, memory),
            words = case when $3::text is null then words else search_words($8::text::regconfig, $3) end,
            tokens = case when $3::text is null then tokens else $10 end,
            hash = coalesce($4, hash),
            embedding = case when $3::text is null then embedding end,
            embedding_model = case when $3::text is null then embedding_model end,
            topics = coalesce($5, topics),
            expires_at = case when $6 then $7 else expires_at end,
            is_own = true,
            updated_at = greatest(updated_at, $9)
        where user_id = $1 and memory_id = $2
        "#,
        user.as_str(),
        memory_id as MemoryId,
        edit.memory,
        hash,
        edit.topics.as_deref(),
        edit.expires_at.is_some(),
        edit.expires_at.and_then(Expiry::at),
        text_config,
        at,
        edit.memory.as_deref().map(line::tokens_of),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Confirms a memory that was stated again: adds the topics, extends the expiry, and makes it the user's own if
/// `is_own`.
pub async fn confirm(
    connection: &mut PgConnection,
    user: &UserId,
    memory_id: MemoryId,
    topics: &[String],
    expires_at: Option<DateTime<Utc>>,
    is_own: bool,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update memories
        set topics = topics || array(select topic from unnest($3::text[]) topic where topic <> all(topics)),
            expires_at = case when expires_at is not null and $4::timestamptz is not null then greatest(expires_at, $4) end,
            is_own = is_own or $5,
            updated_at = greatest(updated_at, $6)
        where user_id = $1 and memory_id = $2
        "#,
        user.as_str(),
        memory_id as MemoryId,
        topics,
        expires_at,
        is_own,
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An event of a memory, with its text from then on.
#[derive(Debug)]
pub struct Recorded<'a> {
    pub user_id: &'a UserId,
    pub memory_id: MemoryId,
    pub action: Action,
    pub memory: &'a str,
    pub topics: &'a [String],
    pub source: Option<&'a Source>,
    pub at: DateTime<Utc>,
}

/// Adds an event to the memory's history.
pub async fn record(connection: &mut PgConnection, event: &Recorded<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into memory_events (user_id, memory_id, event_id, action, memory, topics, session_id, seq, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        event.user_id.as_str(),
        event.memory_id as MemoryId,
        Uuid::now_v7(),
        event.action as Action,
        event.memory,
        event.topics,
        event.source.map(|source| source.session_id.as_str()),
        event.source.map(|source| source.seq),
        event.at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Erases up to `limit` expired memories, with their history and the memories that they superseded. Returns the number
/// of expired ones.
pub async fn delete_expired(db: &PgPool, limit: i64) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from memories m
         using (select user_id, memory_id from memories where expires_at <= now() limit $1) expired
         where m.user_id = expired.user_id and m.memory_id = expired.memory_id",
        limit,
    );
    Ok(deleted.execute(db).await?.rows_affected())
}

/// Erases a memory of the user, with its history and the memories that it superseded. `false` if it does not exist.
pub async fn forget(connection: &mut PgConnection, user: &UserId, memory_id: MemoryId) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from memories where user_id = $1 and memory_id = $2",
        user.as_str(),
        memory_id as MemoryId,
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Erases memories, with their history and the memories that they superseded. Ids that do not exist, or are out of
/// scope, are ignored.
pub async fn delete(db: &PgPool, scope: &Scope, memory_ids: &[MemoryId]) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = memory_ids.iter().map(|id| id.0).collect();
    let deleted = sqlx::query!(
        "delete from memories where memory_id = any($1) and ($2::text is null or user_id = $2)",
        &ids,
        scope.user(),
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
