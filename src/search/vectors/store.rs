//! Vectors in PostgreSQL, and what is still to be done about them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::direction::Direction;
use crate::{
    memories::MemoryId,
    search::{
        model::{Item, Place, Search},
        store::Match,
    },
    sessions::SessionId,
};

/// Notes that something was said in a session.
pub async fn note(
    connection: &mut PgConnection,
    session_id: &SessionId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into unembedded_sessions (session_id, noted_at) values ($1, $2)
        on conflict (session_id) do update set noted_at = excluded.noted_at
        "#,
        session_id.as_str(),
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether no job waits, or none since `lost`.
pub async fn needs_job(db: &PgPool, lost: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from embedding_state where job_waits_since is null or job_waits_since < $1
        ) as "exists!"
        "#,
        lost,
    )
    .fetch_one(db)
    .await
}

/// `true`: no job waited, or none since `lost`, and from now on one does.
pub async fn claim_job(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    lost: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "update embedding_state set job_waits_since = $1 where job_waits_since is null or job_waits_since < $2",
        now,
        lost,
    )
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() > 0)
}

pub async fn set_job_waits(db: &PgPool, since: Option<DateTime<Utc>>) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set job_waits_since = $1", since).execute(db).await?;
    Ok(())
}

/// Whether there are sessions that were noted, or memories that are new.
pub async fn is_something_new(db: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (select from unembedded_sessions)
            or exists (select from memories where valid_to is null and embedding_model is null) as "exists!"
        "#
    )
    .fetch_one(db)
    .await
}

/// Says that there is no model: what is said from now on is not noted.
pub async fn forget_model(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set model = null where model is not null").execute(db).await?;
    Ok(())
}

/// Says which model there is. If it was another, notes all sessions and answers the one before, empty for none.
pub async fn change_model(db: &PgPool, model: &str) -> Result<Option<String>, sqlx::Error> {
    let mut tx = db.begin().await?;
    let before = sqlx::query_scalar!("select model from embedding_state for update").fetch_one(&mut *tx).await?;
    if before.as_deref() == Some(model) {
        return Ok(None);
    }
    sqlx::query!("update embedding_state set model = $1", model).execute(&mut *tx).await?;
    sqlx::query!(
        r#"
        insert into unembedded_sessions (session_id, noted_at)
        select session_id, updated_at from sessions
        on conflict do nothing
        "#
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Some(before.unwrap_or_default()))
}

/// A session that was noted, and when.
#[derive(Debug)]
pub struct Noted {
    session_id: String,
    noted_at: DateTime<Utc>,
}

/// Sessions that were noted, the last first: what was just said is asked about first.
pub async fn noted(db: &PgPool, limit: i64) -> Result<Vec<Noted>, sqlx::Error> {
    sqlx::query_as!(
        Noted,
        "select session_id, noted_at from unembedded_sessions order by noted_at desc limit $1",
        limit,
    )
    .fetch_all(db)
    .await
}

/// Forgets the notes, but for sessions that were noted again meanwhile.
pub async fn are_done(db: &PgPool, sessions: &[Noted]) -> Result<(), sqlx::Error> {
    let (ids, times): (Vec<&str>, Vec<DateTime<Utc>>) =
        sessions.iter().map(|noted| (noted.session_id.as_str(), noted.noted_at)).unzip();
    sqlx::query!(
        r#"
        delete from unembedded_sessions u
        using unnest($1::text[], $2::timestamptz[]) as done (session_id, noted_at)
        where u.session_id = done.session_id and u.noted_at = done.noted_at
        "#,
        &ids as &[&str],
        &times,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A message that has no vector of the model.
#[derive(Debug)]
pub struct MessageText {
    session_id: String,
    seq: i64,
    index: i32,
    pub text: String,
}

/// Messages of these sessions without a vector of the model.
pub async fn messages_without(
    db: &PgPool,
    sessions: &[Noted],
    model: &str,
    limit: i64,
) -> Result<Vec<MessageText>, sqlx::Error> {
    let ids: Vec<&str> = sessions.iter().map(|noted| noted.session_id.as_str()).collect();
    sqlx::query_as!(
        MessageText,
        r#"
        select m.session_id, m.seq, m.index, m.content as "text!"
        from messages m left join message_vectors v using (session_id, seq, index)
        where m.session_id = any($1)
          and m.words is not null
          and m.content ~ '\S'
          and v.embedding_model is distinct from $2
        limit $3
        "#,
        &ids as &[&str],
        model,
        limit,
    )
    .fetch_all(db)
    .await
}

/// A memory that holds and has no vector of the model.
#[derive(Debug)]
pub struct MemoryText {
    user_id: String,
    memory_id: MemoryId,
    pub text: String,
}

pub async fn memories_without(db: &PgPool, model: &str, limit: i64) -> Result<Vec<MemoryText>, sqlx::Error> {
    sqlx::query_as!(
        MemoryText,
        r#"
        select user_id, memory_id as "memory_id: MemoryId", memory as "text!"
        from memories
        where valid_to is null and (embedding_model is null or embedding_model < $1 or embedding_model > $1)
        limit $2
        "#,
        model,
        limit,
    )
    .fetch_all(db)
    .await
}

/// A row with its vector as it is stored; empty where the model takes no such text.
#[derive(Debug)]
pub struct Embedded<T> {
    pub row: T,
    pub embedding: Vec<u8>,
}

/// Stores vectors; of messages that are gone, none.
pub async fn keep_of_messages(
    db: &PgPool,
    model: &str,
    embedded: &[Embedded<MessageText>],
) -> Result<(), sqlx::Error> {
    let sessions: Vec<&str> = embedded.iter().map(|it| it.row.session_id.as_str()).collect();
    let seqs: Vec<i64> = embedded.iter().map(|it| it.row.seq).collect();
    let indexes: Vec<i32> = embedded.iter().map(|it| it.row.index).collect();
    let vectors: Vec<&[u8]> = embedded.iter().map(|it| it.embedding.as_slice()).collect();
    sqlx::query!(
        r#"
        insert into message_vectors (session_id, seq, index, embedding, embedding_model, said_at)
        select m.session_id, m.seq, m.index, made.embedding, $5, m.created_at
        from unnest($1::text[], $2::bigint[], $3::integer[], $4::bytea[]) as made (session_id, seq, index, embedding)
        join messages m using (session_id, seq, index)
        for key share of m
        on conflict (session_id, seq, index) do update set
            embedding = excluded.embedding,
            embedding_model = excluded.embedding_model
        "#,
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

/// Stores vectors of memories that still say what they said.
pub async fn keep_of_memories(db: &PgPool, model: &str, embedded: &[Embedded<MemoryText>]) -> Result<(), sqlx::Error> {
    let users: Vec<&str> = embedded.iter().map(|it| it.row.user_id.as_str()).collect();
    let ids: Vec<uuid::Uuid> = embedded.iter().map(|it| it.row.memory_id.0).collect();
    let texts: Vec<&str> = embedded.iter().map(|it| it.row.text.as_str()).collect();
    let vectors: Vec<&[u8]> = embedded.iter().map(|it| it.embedding.as_slice()).collect();
    sqlx::query!(
        r#"
        update memories m
        set embedding = made.embedding, embedding_model = $5
        from unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[]) as made (user_id, memory_id, memory, embedding)
        where m.user_id = made.user_id and m.memory_id = made.memory_id and m.memory = made.memory
        "#,
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

/// Vectors of one length, one behind the other, and the rows that they are of.
#[derive(Debug, Default)]
pub struct Vectors {
    rows: Vec<(Item, DateTime<Utc>)>,
    bytes: Vec<u8>,
}

impl Vectors {
    /// Each row with its cosine.
    pub fn compare(self, question: &Direction) -> impl Iterator<Item = Match> {
        let vectors = self.bytes.chunks_exact(question.dimensions().max(1));
        let scores: Vec<f64> = vectors.map(|stored| question.cosine(stored)).collect();
        self.rows.into_iter().zip(scores).map(|((item, created_at), score)| Match { item, score, created_at })
    }
}

/// The vectors of what was said in the scope, by session: a row for each would take longer to read than to compare.
pub async fn of_messages(
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
        let places = row.seqs.into_iter().zip(row.indexes).map(|(seq, index)| {
            Item::Message(Place { session_id: row.session_id.clone(), seq, index })
        });
        Vectors { rows: places.zip(row.times).collect(), bytes: row.bytes }
    });
    Ok(vectors.collect())
}

/// The vectors of the user's memories that hold, as far as the search wants them.
pub async fn of_memories(db: &PgPool, search: &Search, model: &str, at_most: i64) -> Result<Vectors, sqlx::Error> {
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
