//! Vectors in PostgreSQL, as a search reads them. What is still to be done about them is in `undone`.

mod undone;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::direction::Direction;
use crate::{
    memories::MemoryId,
    search::{
        model::{Item, Place, Search},
        store::Match,
    },
    sessions::SessionId,
};

pub(super) use undone::*;

/// Vectors of one length, one behind the other, and the rows that they are of.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    rows: Vec<(Item, DateTime<Utc>)>,
    bytes: Vec<u8>,
}

impl Vectors {
    /// Each row with its cosine.
    pub(super) fn compare(self, question: &Direction) -> impl Iterator<Item = Match> {
        let vectors = self.bytes.chunks_exact(question.dimensions().max(1));
        let scores: Vec<f64> = vectors.map(|stored| question.cosine(stored)).collect();
        self.rows.into_iter().zip(scores).map(|((item, created_at), score)| Match { item, score, created_at })
    }
}

/// The vectors of what was said in the scope, by session: a row for each would take longer to read than to compare.
pub(super) async fn of_messages(
    db: &PgPool,
    search: &Search,
    model: &str,
    at_most: i64,
) -> Result<Vec<Vectors>, sqlx::Error> {
    let sessions = sqlx::query!(
        r#"
        with talks as materialized (
            select session_id, updated_at from sessions where user_id = $1 and ($2::text is null or session_id = $2)
            union all
            select session_id, updated_at from sessions where $1::text is null and session_id = $2
        ), vectors as (
            select v.session_id, v.seq, v.index, v.said_at, v.embedding
            from (select session_id from talks order by updated_at desc) talks
            cross join lateral (
                select * from message_vectors of_talk where of_talk.session_id = talks.session_id
            ) v
            where v.embedding_model = $3
              and v.embedding <> ''
              and ($4::timestamptz is null or v.said_at >= $4) and ($5::timestamptz is null or v.said_at < $5)
            limit $6
        )
        select session_id as "session_id!", array_agg(seq) as "seqs!", array_agg(index) as "indexes!",
               array_agg(said_at) as "times!", string_agg(embedding, '') as "bytes!"
        from vectors
        group by session_id
        "#,
        search.scope.user(),
        search.session_id.as_ref().map(SessionId::as_str),
        model,
        search.from,
        search.to,
        at_most,
    )
    .fetch_all(db)
    .await?;
    let vectors = sessions.into_iter().map(|row| {
        let places = row
            .seqs
            .into_iter()
            .zip(row.indexes)
            .map(|(seq, index)| Item::Message(Place { session_id: row.session_id.clone(), seq, index }));
        Vectors { rows: places.zip(row.times).collect(), bytes: row.bytes }
    });
    Ok(vectors.collect())
}

/// The vectors of the user's memories that hold, as far as the search wants them.
pub(super) async fn of_memories(
    db: &PgPool,
    search: &Search,
    model: &str,
    at_most: i64,
) -> Result<Vectors, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select array_agg(memory_id) as ids, array_agg(valid_from) as times, string_agg(embedding, '') as bytes
        from (
            select memory_id, valid_from, embedding
            from memories
            where user_id = $1
              and valid_to is null and (expires_at is null or expires_at > now())
              and embedding_model = $2
              and embedding <> ''
              and ($3::timestamptz is null or valid_from >= $3) and ($4::timestamptz is null or valid_from < $4)
              and ($5::text is null or agent_id = $5) and lower(topics::text)::text[] @> $6::text[]
            limit $7
        ) vectors
        "#,
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
    let ids = row.ids.unwrap_or_default().into_iter().map(|id| Item::Memory(MemoryId(id)));
    Ok(Vectors { rows: ids.zip(row.times.unwrap_or_default()).collect(), bytes: row.bytes.unwrap_or_default() })
}
