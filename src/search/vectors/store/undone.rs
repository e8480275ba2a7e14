//! Missing vectors: dirty sessions, texts without a vector, and whether a job is queued.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{
    database::{self, interval},
    model::{MemoryId, SessionId},
};

/// Marks a session dirty.
pub(in crate::search::vectors) async fn note(
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

/// Whether a job must be queued: none is waiting, or it has waited so long that it is lost. A time in the future counts
/// as lost too: it was written by a wrong clock.
pub(in crate::search::vectors) async fn needs_job(db: &PgPool, lost_after: Duration) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from embedding_state
            where job_waits_since is null or job_waits_since < now() - $1::interval or job_waits_since > now()
        ) as "exists!"
        "#,
        interval(lost_after),
    )
    .fetch_one(db)
    .await
}

/// Records that a job is queued now; `false` if none was needed.
pub(in crate::search::vectors) async fn claim_job(
    connection: &mut PgConnection,
    lost_after: Duration,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "
        update embedding_state set job_waits_since = now()
        where job_waits_since is null or job_waits_since < now() - $1::interval or job_waits_since > now()
        ",
        interval(lost_after),
    )
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() > 0)
}

pub(in crate::search::vectors) async fn set_job_waits(db: &PgPool, waits: bool) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set job_waits_since = case when $1 then now() end", waits).execute(db).await?;
    Ok(())
}

/// Whether there are dirty sessions, or memories without a vector.
pub(in crate::search::vectors) async fn is_something_new(db: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (select from unembedded_sessions)
            or exists (select from memories where valid_to is null and embedding_model is null) as "exists!"
        "#
    )
    .fetch_one(db)
    .await
}

/// Clears the stored model. From now on no session is marked dirty.
pub(in crate::search::vectors) async fn forget_model(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update embedding_state set model = null where model is not null").execute(db).await?;
    Ok(())
}

/// Stores the current model. If it has changed, marks all sessions dirty and returns the previous model, empty if there
/// was none.
pub(in crate::search::vectors) async fn change_model(db: &PgPool, model: &str) -> Result<Option<String>, sqlx::Error> {
    let mut tx = database::begin(db).await?;
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

/// A dirty session, and when it was marked.
#[derive(Debug)]
pub(in crate::search::vectors) struct Noted {
    session_id: String,
    noted_at: DateTime<Utc>,
}

/// Dirty sessions, the last marked first, because questions are mostly about what was just said.
pub(in crate::search::vectors) async fn noted(db: &PgPool, limit: i64) -> Result<Vec<Noted>, sqlx::Error> {
    sqlx::query_as!(
        Noted,
        "select session_id, noted_at from unembedded_sessions order by noted_at desc limit $1",
        limit,
    )
    .fetch_all(db)
    .await
}

/// Clears the dirty marks, except of sessions that were marked again meanwhile.
pub(in crate::search::vectors) async fn are_done(db: &PgPool, sessions: &[Noted]) -> Result<(), sqlx::Error> {
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

/// A message without a vector of the current model.
#[derive(Debug)]
pub(in crate::search::vectors) struct MessageText {
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

/// A current memory without a vector of the current model.
#[derive(Debug)]
pub(in crate::search::vectors) struct MemoryText {
    user_id: String,
    memory_id: MemoryId,
    pub(in crate::search::vectors) text: String,
}

pub(in crate::search::vectors) async fn memories_without(
    db: &PgPool,
    model: &str,
    limit: i64,
) -> Result<Vec<MemoryText>, sqlx::Error> {
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

/// A row with its stored vector; empty if the model refuses the text.
#[derive(Debug)]
pub(in crate::search::vectors) struct Embedded<T> {
    pub(in crate::search::vectors) row: T,
    pub(in crate::search::vectors) embedding: Vec<u8>,
}

/// Stores the vectors of messages; deleted messages are skipped.
pub(in crate::search::vectors) async fn keep_of_messages(
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

/// Stores the vectors of memories whose text has not changed meanwhile.
pub(in crate::search::vectors) async fn keep_of_memories(
    db: &PgPool,
    model: &str,
    embedded: &[Embedded<MemoryText>],
) -> Result<(), sqlx::Error> {
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
