//! Statements that change a user's memories. The transaction must hold the user's lock.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    memories::line,
    model::{
        MemoryId, TenantId, UserId,
        memory::{Action, Source},
    },
};

/// Takes an advisory lock that serializes the changes of a user's memories until the transaction ends. A check for
/// duplicates thus stays valid until the memory is stored.
pub async fn lock_user(connection: &mut PgConnection, tenant: &TenantId, user: &UserId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended($2, hashtextextended('memories of ' || $1, 0)))",
        tenant.as_str(),
        user.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sources, an array per column.
struct Columns<'a> {
    sessions: Vec<&'a str>,
    seqs: Vec<i64>,
    indexes: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(sources: &'a [Source]) -> Self {
        Self {
            sessions: sources.iter().map(|source| source.session_id.as_str()).collect(),
            seqs: sources.iter().map(|source| source.seq).collect(),
            indexes: sources.iter().map(|source| source.index).collect(),
        }
    }
}

/// A row to insert.
#[derive(Debug)]
pub struct NewMemory<'a> {
    pub tenant_id: &'a TenantId,
    pub user_id: &'a UserId,
    pub memory_id: MemoryId,
    pub memory: &'a str,
    pub topics: &'a [String],
    pub agent_id: Option<&'a str>,
    pub hash: &'a [u8],
    pub is_own: bool,
    /// The messages that state it. They are not stored with it: see [`add_sources`].
    pub sources: &'a [Source],
    pub expires_at: Option<DateTime<Utc>>,
    /// The text search configuration that splits the text into words.
    pub text_config: &'a str,
    pub at: DateTime<Utc>,
}

/// Violates `memories_once` if the user has the same memory already.
pub async fn insert(connection: &mut PgConnection, new: &NewMemory<'_>) -> Result<(), sqlx::Error> {
    let Columns { sessions, seqs, indexes } = Columns::of(new.sources);
    sqlx::query!(
        r#"
        insert into memories (
            tenant_id, user_id, memory_id, memory, topics, agent_id, labels, hash, is_own, created_at, updated_at,
            said_at, valid_from, expires_at, words, tokens
        )
        select $1, $2, $3, $4, $5, $6, '{}', $7, $8, $9, $9, (
                   select max(m.created_at)
                   from unnest($13::text[], $14::bigint[], $15::integer[]) as source (session_id, seq, index)
                   join messages m on m.tenant_id = $1 and m.session_id = source.session_id and m.seq = source.seq
                        and m.index = source.index
               ), $9, $10, search_words($11::text::regconfig, $4), $12
        "#,
        new.tenant_id.as_str(),
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
        &sessions as &[&str],
        &seqs,
        &indexes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds messages as sources of a memory; those of runs that do not exist any more are skipped.
pub async fn add_sources(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    memory_id: MemoryId,
    sources: &[Source],
) -> Result<(), sqlx::Error> {
    let Columns { sessions, seqs, indexes } = Columns::of(sources);
    sqlx::query!(
        r#"
        insert into memory_sources (tenant_id, user_id, memory_id, session_id, seq, index)
        select $1, $2, $3, r.session_id, r.seq, source.index
        from unnest($4::text[], $5::bigint[], $6::integer[]) as source (session_id, seq, index)
        join runs r on r.tenant_id = $1 and r.session_id = source.session_id and r.seq = source.seq
        on conflict do nothing
        "#,
        tenant.as_str(),
        user.as_str(),
        memory_id as MemoryId,
        &sessions as &[&str],
        &seqs,
        &indexes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks a memory as superseded. Its sources stay its own. `false` if it does not exist or was superseded before.
pub async fn end(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    memory_id: MemoryId,
    successor: MemoryId,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        r#"
        update memories set valid_to = $5, superseded_by = $4
        where tenant_id = $1 and user_id = $2 and memory_id = $3 and valid_to is null
        "#,
        tenant.as_str(),
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
    tenant: &TenantId,
    user: &UserId,
    heir: MemoryId,
    from: &[MemoryId],
) -> Result<(), sqlx::Error> {
    let from: Vec<Uuid> = from.iter().map(|id| id.0).collect();
    sqlx::query!(
        r#"
        with source as (
            insert into memory_sources (tenant_id, user_id, memory_id, session_id, seq, index)
            select distinct $1, $2, $3::uuid, session_id, seq, index
            from memory_sources
            where tenant_id = $1 and user_id = $2 and memory_id = any($4)
            on conflict do nothing
        ), part as (
            select bool_or(m.is_own) as is_own, max(m.said_at) as said_at
            from memories m
            where m.tenant_id = $1 and m.user_id = $2 and m.memory_id = any($4)
        )
        update memories m
        set is_own = coalesce(part.is_own, false), said_at = greatest(m.said_at, part.said_at)
        from part
        where m.tenant_id = $1 and m.user_id = $2 and m.memory_id = $3
        "#,
        tenant.as_str(),
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
    (tenant, user): (&TenantId, &UserId),
    memory_id: MemoryId,
    edit: &Edit,
    hash: Option<&[u8]>,
    text_config: &str,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with said as (select search_words($9::text::regconfig, $4) as words)
        update memories m
        set memory = coalesce($4, m.memory),
            words = coalesce(said.words, m.words),
            tokens = case when $4::text is null then m.tokens else $11 end,
            hash = coalesce($5, m.hash),
            embedding = case when $4::text is null then m.embedding end,
            embedding_model = case when $4::text is null then m.embedding_model end,
            topics = coalesce($6, m.topics),
            expires_at = case when $7 then $8 else m.expires_at end,
            is_own = true,
            updated_at = greatest(m.updated_at, $10)
        from said
        where m.tenant_id = $1 and m.user_id = $2 and m.memory_id = $3
        "#,
        tenant.as_str(),
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

/// That a memory was stated again.
#[derive(Debug)]
pub struct Confirmation<'a> {
    pub topics: &'a [String],
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether the memory becomes the user's own.
    pub is_own: bool,
    /// The messages that state it again. They are not stored with it: see [`add_sources`].
    pub sources: &'a [Source],
    pub at: DateTime<Utc>,
}

/// Confirms a memory that was stated again: adds the topics and extends the expiry.
pub async fn confirm(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    memory_id: MemoryId,
    confirmation: &Confirmation<'_>,
) -> Result<(), sqlx::Error> {
    let Columns { sessions, seqs, indexes } = Columns::of(confirmation.sources);
    sqlx::query!(
        r#"
        with said as (
            select max(m.created_at) as at
            from unnest($8::text[], $9::bigint[], $10::integer[]) as source (session_id, seq, index)
            join messages m on m.tenant_id = $1 and m.session_id = source.session_id and m.seq = source.seq
                 and m.index = source.index
        )
        update memories m
        set topics = m.topics || array(select topic from unnest($4::text[]) topic where topic <> all(m.topics)),
            expires_at = case
                when m.expires_at is not null and $5::timestamptz is not null then greatest(m.expires_at, $5)
            end,
            is_own = m.is_own or $6,
            said_at = greatest(m.said_at, said.at),
            updated_at = greatest(m.updated_at, $7)
        from said
        where m.tenant_id = $1 and m.user_id = $2 and m.memory_id = $3
        "#,
        tenant.as_str(),
        user.as_str(),
        memory_id as MemoryId,
        confirmation.topics,
        confirmation.expires_at,
        confirmation.is_own,
        confirmation.at,
        &sessions as &[&str],
        &seqs,
        &indexes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An event of a memory, with its text from then on.
#[derive(Debug)]
pub struct Recorded<'a> {
    pub tenant_id: &'a TenantId,
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
        insert into memory_events (
            tenant_id, user_id, memory_id, event_id, action, memory, topics, session_id, seq, created_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        "#,
        event.tenant_id.as_str(),
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
