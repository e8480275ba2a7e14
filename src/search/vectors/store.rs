//! Vectors in PostgreSQL, as a search reads them. `undone` tracks missing vectors, `texts` fills them in.

mod texts;
mod undone;

use std::{cmp::Ordering, collections::HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{direction::Direction, kept::Version};
use crate::{
    model::{MemoryId, SessionId},
    search::{
        model::{Item, Place, Search},
        store::Match,
    },
};

pub(super) use self::{texts::*, undone::*};

/// The PostgreSQL epoch, 2000-01-01, in microseconds of Unix time.
const EPOCH: i64 = 946_684_800_000_000;

/// Packed rows, one after the other: key, time, vector. PostgreSQL thus returns one value per session, not one per row,
/// which would take longer than the comparison.
#[derive(Debug)]
pub struct Vectors {
    of: Of,
    packed: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// Messages of a session. Key: 8 bytes of `seq`, 4 bytes of `index`.
    Session(String),
    /// Memories. Key: 16 bytes of id.
    Memories,
}

impl Vectors {
    pub(super) fn none_of(session_id: &str) -> Self {
        Self { of: Of::Session(session_id.to_owned()), packed: Vec::new() }
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> usize {
        self.packed.len()
    }

    /// Computes the cosine similarity of each row.
    pub(super) fn compare(&self, question: &Direction) -> impl Iterator<Item = Compared<'_>> {
        let id = match self.of {
            Of::Session(_) => size_of::<i64>() + size_of::<i32>(),
            Of::Memories => size_of::<Uuid>(),
        };
        self.packed.chunks_exact(id + size_of::<i64>() + question.dimensions()).filter_map(move |row| {
            let (id, row) = row.split_at(id);
            let (time, vector) = row.split_first_chunk()?;
            let created_at = DateTime::from_timestamp_micros(i64::from_be_bytes(*time).checked_add(EPOCH)?)?;
            Some(Compared { of: &self.of, id, created_at, score: question.cosine(vector) })
        })
    }
}

/// A row compared with a question. It borrows its data, because most rows are dropped after the comparison.
#[derive(Debug)]
pub(super) struct Compared<'a> {
    of: &'a Of,
    id: &'a [u8],
    pub(super) created_at: DateTime<Utc>,
    score: f64,
}

impl Compared<'_> {
    /// Nearest first, then newest, then by key: a total order, so that the same question always has the same answer.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score).then_with(|| other.created_at.cmp(&self.created_at));
        by_score.then_with(|| (self.of, self.id).cmp(&(other.of, other.id)))
    }

    pub(super) fn into_match(self) -> Option<Match> {
        Some(Match { item: self.item()?, score: self.score, created_at: self.created_at })
    }

    fn item(&self) -> Option<Item> {
        match self.of {
            Of::Session(session_id) => {
                let (seq, index) = self.id.split_first_chunk()?;
                let (seq, index) = (i64::from_be_bytes(*seq), i32::from_be_bytes(index.try_into().ok()?));
                Some(Item::Message(Place { session_id: session_id.clone(), seq, index }))
            }
            Of::Memories => Some(Item::Memory(MemoryId(Uuid::from_slice(self.id).ok()?))),
        }
    }
}

/// A session of the scope, with what is needed to read its vectors.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) session_id: String,
    created_at: DateTime<Utc>,
    version: i64,
    /// Only runs after this one are read.
    after_seq: i64,
    /// Whether every message has a vector of this model.
    pub(super) is_complete: bool,
}

impl Talk {
    pub(super) fn version(&self) -> Version {
        Version { created_at: self.created_at, number: self.version }
    }

    /// Whether all of its runs are read.
    pub(super) fn is_whole(&self) -> bool {
        self.after_seq <= 0
    }
}

/// The sessions of the scope. If they have more runs than `at_most`, the latest runs of the most recently used
/// sessions.
pub(super) async fn talks(db: &PgPool, search: &Search, model: &str, at_most: i64) -> Result<Vec<Talk>, sqlx::Error> {
    sqlx::query_as!(
        Talk,
        r#"
        with talks as (
            select session_id, created_at, updated_at, version, last_seq
            from sessions
            where tenant_id = $1 and user_id = $2 and ($3::text is null or session_id = $3)
            union all
            select session_id, created_at, updated_at, version, last_seq
            from sessions
            where tenant_id = $1 and $2::text is null and session_id = $3
        ), recent as (
            select session_id, created_at, version, last_seq,
                   sum(last_seq) over (order by updated_at desc, session_id) - last_seq as later
            from talks
        )
        select session_id as "session_id!", created_at as "created_at!", version as "version!",
               last_seq - $5::bigint as "after_seq!",
               (
                   exists (select from embedding_state where model = $4)
                   and not exists (
                       select from unembedded_sessions u where u.tenant_id = $1 and u.session_id = recent.session_id
                   )
               ) as "is_complete!"
        from recent
        where later < $5
        "#,
        search.scope.tenant(),
        search.scope.user(),
        search.session_id.as_ref().map(SessionId::as_str),
        model,
        at_most,
    )
    .fetch_all(db)
    .await
}

/// The vectors of these sessions, by session.
pub(super) async fn of_sessions(
    db: &PgPool,
    tenant: &str,
    talks: &[Talk],
    model: &str,
) -> Result<HashMap<String, Vectors>, sqlx::Error> {
    let (ids, after): (Vec<&str>, Vec<i64>) =
        talks.iter().map(|talk| (talk.session_id.as_str(), talk.after_seq)).unzip();
    let sessions = sqlx::query!(
        r#"
        select talk.session_id as "session_id!", of_talk.packed as "packed!"
        from unnest($2::text[], $3::bigint[]) as talk (session_id, after_seq) cross join lateral (
            select string_agg(int8send(seq) || int4send(index) || timestamptz_send(said_at) || embedding, '') as packed
            from message_vectors v
            where v.tenant_id = $1 and v.session_id = talk.session_id and v.seq > talk.after_seq
              and v.embedding_model = $4 and v.embedding <> ''
        ) of_talk
        where of_talk.packed is not null
        "#,
        tenant,
        &ids as &[&str],
        &after,
        model,
    )
    .fetch_all(db)
    .await?;
    let vectors = |session_id: String, packed| (session_id.clone(), Vectors { of: Of::Session(session_id), packed });
    Ok(sessions.into_iter().map(|row| vectors(row.session_id, row.packed)).collect())
}

/// The vectors of the user's current memories that match the filters of the search.
pub(super) async fn of_memories(
    db: &PgPool,
    search: &Search,
    model: &str,
    at_most: i64,
) -> Result<Vectors, sqlx::Error> {
    let packed = sqlx::query_scalar!(
        r#"
        select string_agg(uuid_send(memory_id) || timestamptz_send(valid_from) || embedding, '')
        from (
            select memory_id, valid_from, embedding
            from memories
            where tenant_id = $1 and user_id = $2
              and valid_to is null and (expires_at is null or expires_at > now())
              and embedding_model = $3
              and embedding <> ''
              and ($4::timestamptz is null or valid_from >= $4) and ($5::timestamptz is null or valid_from < $5)
              and ($6::text is null or agent_id = $6) and lower(topics::text)::text[] @> $7::text[]
            limit $8
        ) vectors
        "#,
        search.scope.tenant(),
        search.scope.user(),
        model,
        search.from,
        search.to,
        search.filter.agent_id,
        &search.filter.topics,
        at_most,
    )
    .fetch_one(db)
    .await?;
    Ok(Vectors { of: Of::Memories, packed: packed.unwrap_or_default() })
}
