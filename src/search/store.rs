//! Search in PostgreSQL. Every statement on stored texts filters by a [`Scope`], except the maintenance in
//! `reindexing`.

pub mod memories;
pub mod reindexing;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgPool;

use super::{
    bm25::{Occurrences, Question},
    model::{FoundMessage, Item, Place, Search},
    statistics::Size,
};
use crate::{
    database::Planning,
    model::{MemoryId, Role, RunId, Scope, SessionId, memory::Brief},
};

/// A word is common in a large collection if more than this share of the texts have it.
const COMMON_SHARE: f64 = 0.05;
/// How many texts are sampled to find the common words.
const SAMPLE: i64 = 1_000;

/// A text that contains words of the question.
#[derive(Clone, Debug)]
pub struct Row {
    pub item: Item,
    pub created_at: DateTime<Utc>,
    pub occurrences: Occurrences,
}

/// A text with a score.
#[derive(Clone, Debug)]
pub struct Match {
    pub item: Item,
    pub score: f64,
    pub created_at: DateTime<Utc>,
}

/// The distinct words of a question, by the text search configuration.
pub async fn words(db: &PgPool, config: &str, question: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select tsvector_to_array(search_words($1::text::regconfig, $2)) as "words!""#,
        config,
        question,
    )
    .fetch_one(db)
    .await
}

/// The texts of the scope with at least one of the `wanted` words, with their frequencies of the question's words.
pub async fn find(
    db: &PgPool,
    search: &Search,
    wanted: &[String],
    question: &Question<'_>,
) -> Result<Vec<Row>, sqlx::Error> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let any_of_them = any_of(wanted);
    let messages = async {
        if search.messages { find_messages(db, search, &any_of_them, question).await } else { Ok(Vec::new()) }
    };
    let memories = async {
        if search.memories { find_memories(db, search, Wanted::Words(&any_of_them)).await } else { Ok(Vec::new()) }
    };
    let (mut found, memories) = tokio::try_join!(messages, memories)?;
    found.extend(memories.iter().filter_map(|memory| memory.row(question)));
    Ok(found)
}

/// Builds a `tsquery`. Quotes and backslashes in words are escaped by doubling them inside quotes.
fn any_of(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\\', r"\\").replace('\'', "''")));
    quoted.collect::<Vec<_>>().join("|")
}

async fn find_messages(
    db: &PgPool,
    search: &Search,
    any_of_them: &str,
    question: &Question<'_>,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut planning = Planning::of(db).await?;
    let rows = sqlx::query_as(include_str!("find_messages.sql"))
        .bind(search.scope.tenant())
        .bind(search.scope.user())
        .bind(search.session_id.as_ref().map(SessionId::as_str))
        .bind(search.from)
        .bind(search.to)
        .bind(any_of_them)
        .persistent(false)
        .fetch(planning.connection());
    // Streamed, because only a small part of each row is kept.
    rows.try_filter_map(async |(session_id, seq, index, created_at, words): (_, _, _, _, Vec<u8>)| {
        let item = Item::Message(Place { session_id, seq, index });
        Ok(question.occurrences(&words).map(|occurrences| Row { item, created_at, occurrences }))
    })
    .try_collect()
    .await
}

/// A memory with at least one of the wanted words.
#[derive(Debug)]
pub struct FoundMemory {
    memory_id: MemoryId,
    created_at: DateTime<Utc>,
    /// The binary form of a `tsvector`.
    words: Vec<u8>,
    /// The text, if requested and short.
    memory: Option<String>,
    tokens: Option<i32>,
    /// The number of texts searched, and of their words; only for [`Wanted::AllBy`].
    texts: Option<i64>,
    text_words: Option<i64>,
}

impl FoundMemory {
    /// The size of the collection, if the search was [`Wanted::AllBy`] and found something.
    pub fn size(found: &[Self]) -> Option<Size> {
        let memory = found.first()?;
        Some(Size { texts: memory.texts?, words: memory.text_words?, ..Size::default() })
    }

    pub fn row(&self, question: &Question<'_>) -> Option<Row> {
        let occurrences = question.occurrences(&self.words)?;
        Some(Row { item: Item::Memory(self.memory_id), created_at: self.created_at, occurrences })
    }

    pub fn into_brief(self) -> Option<Brief> {
        Some(Brief { memory_id: self.memory_id, memory: self.memory?, tokens: self.tokens })
    }
}

/// The words to search memories for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// A `tsquery`.
    Words(&'a str),
    /// All words of the question, split by this text search configuration.
    AllBy { config: &'a str, with_texts: bool },
}

pub async fn find_memories(db: &PgPool, search: &Search, wanted: Wanted<'_>) -> Result<Vec<FoundMemory>, sqlx::Error> {
    let Some(user) = search.scope.user() else { return Ok(Vec::new()) };
    let (words, config, with_texts) = match wanted {
        Wanted::Words(words) => (Some(words), None, false),
        Wanted::AllBy { config, with_texts } => (None, Some(config), with_texts),
    };
    sqlx::query_file_as!(
        FoundMemory,
        "src/search/find_memories.sql",
        search.scope.tenant(),
        user,
        search.from,
        search.to,
        search.filter.agent_id,
        &search.filter.topics,
        words,
        config,
        search.query,
        with_texts,
    )
    .fetch_all(db)
    .await
}

/// Counts the texts and words of the collection, without the common words.
pub async fn size(db: &PgPool, search: &Search) -> Result<Size, sqlx::Error> {
    let row = sqlx::query_file!(
        "src/search/size.sql",
        search.scope.tenant(),
        search.scope.user(),
        search.session_id.as_ref().map(SessionId::as_str),
        search.messages,
        search.memories,
        search.from,
        search.to,
        search.filter.agent_id,
        &search.filter.topics,
    )
    .fetch_one(db)
    .await?;
    Ok(Size { texts: row.texts, words: row.words, ..Size::default() })
}

/// Adds the common words to a size.
pub async fn with_common_words(db: &PgPool, search: &Search, size: Size) -> Result<Size, sqlx::Error> {
    let rows = sqlx::query_file!(
        "src/search/common.sql",
        search.scope.tenant(),
        search.scope.user(),
        search.session_id.as_ref().map(SessionId::as_str),
        search.messages,
        search.memories,
        COMMON_SHARE,
        SAMPLE,
        size.texts,
    )
    .fetch_all(db)
    .await?;
    let (common, common_texts) = rows.into_iter().map(|row| (row.word, row.texts)).unzip();
    Ok(Size { common, common_texts, ..size })
}

/// The messages that these memories come from; at most 1,000.
pub async fn sources(
    db: &PgPool,
    scope: &Scope,
    memory_ids: &[MemoryId],
) -> Result<Vec<(MemoryId, Place)>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = memory_ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        select s.memory_id as "memory_id: MemoryId", s.session_id, s.seq, s.index
        from memory_sources s join messages m using (tenant_id, session_id, seq, index)
        where s.tenant_id = $1 and s.memory_id = any($2) and ($3::text is null or s.user_id = $3)
        order by s.memory_id, m.created_at desc
        limit 1000
        "#,
        scope.tenant(),
        &ids,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.memory_id, Place { session_id: row.session_id, seq: row.seq, index: row.index }))
        .collect())
}

/// A turn near a place: the place itself, or one of the two turns before and after it.
#[derive(Clone, Debug)]
pub struct Nearby {
    /// Index of the requested place.
    pub of: usize,
    /// Distance in turns, -2 to 2.
    pub distance: i32,
    pub place: Place,
    pub role: Role,
    /// The first 80 characters, which may name the speaker.
    pub opening: String,
    /// Whether the turn is short and ends in a question mark.
    pub asks: bool,
    pub created_at: DateTime<Utc>,
}

/// These turns, with their neighbours.
pub async fn nearby(db: &PgPool, scope: &Scope, places: &[Place]) -> Result<Vec<Nearby>, sqlx::Error> {
    let sessions: Vec<&str> = places.iter().map(|place| place.session_id.as_str()).collect();
    let seqs: Vec<i64> = places.iter().map(|place| place.seq).collect();
    let indexes: Vec<i32> = places.iter().map(|place| place.index).collect();
    let rows = sqlx::query_file!(
        "src/search/nearby.sql",
        scope.tenant(),
        &sessions as &[&str],
        &seqs,
        &indexes,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Nearby {
            of: usize::try_from(row.of - 1).unwrap_or(usize::MAX),
            distance: row.distance,
            place: Place { session_id: row.session_id, seq: row.seq, index: row.index },
            role: row.role,
            opening: row.opening,
            asks: row.asks,
            created_at: row.created_at,
        })
        .collect())
}

/// The messages at these places.
pub async fn messages(
    db: &PgPool,
    scope: &Scope,
    places: &[&Place],
) -> Result<Vec<(Place, FoundMessage)>, sqlx::Error> {
    let sessions: Vec<&str> = places.iter().map(|place| place.session_id.as_str()).collect();
    let seqs: Vec<i64> = places.iter().map(|place| place.seq).collect();
    let indexes: Vec<i32> = places.iter().map(|place| place.index).collect();
    let rows = sqlx::query!(
        r#"
        select r.session_id, r.seq, m.index as "index!", r.run_id as "run_id: RunId", m.message_id as "message_id!",
               m.role as "role!: Role", coalesce(m.content, '') as "content!", m.created_at as "created_at!"
        from unnest($2::text[], $3::bigint[], $4::integer[]) as asked (session_id, seq, index)
        join sessions s on s.tenant_id = $1 and s.session_id = asked.session_id and ($5::text is null or s.user_id = $5)
        join runs r on r.tenant_id = $1 and r.session_id = s.session_id and r.seq = asked.seq
        join messages m
          on m.tenant_id = $1 and m.session_id = s.session_id and m.seq = asked.seq and m.index = asked.index
        "#,
        scope.tenant(),
        &sessions as &[&str],
        &seqs,
        &indexes,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let message = FoundMessage {
                session_id: SessionId::stored(row.session_id.clone()),
                run_id: row.run_id,
                seq: row.seq,
                message_id: row.message_id,
                role: row.role,
                content: row.content,
                created_at: row.created_at,
            };
            (Place { session_id: row.session_id, seq: row.seq, index: row.index }, message)
        })
        .collect())
}
