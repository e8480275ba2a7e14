//! Which runs are still to be read, and what reading them has cost.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{auth::UserId, memories::model::Source, sessions::SessionId};

/// A settled run that memories are to be drawn from.
#[derive(Clone, Debug)]
pub struct Turn {
    pub session_id: SessionId,
    pub seq: i64,
    pub agent_id: String,
    /// What the user said.
    pub input: String,
    /// What was answered.
    pub content: Option<String>,
    pub created_at: DateTime<Utc>,
    /// No answer to it could be used so far.
    pub refused: bool,
}

impl Turn {
    pub fn source(&self) -> Source {
        Source { session_id: self.session_id.clone(), seq: self.seq }
    }
}

/// Marks runs of a session as unread.
pub async fn note_turns(
    connection: &mut PgConnection,
    user: &UserId,
    session_id: &SessionId,
    seqs: &[i64],
    agent_id: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into memory_turns (user_id, session_id, seq, agent_id)
         select $1, $2, seq, $4 from unnest($3::bigint[]) seq
         on conflict do nothing",
        user.as_str(),
        session_id.as_str(),
        seqs,
        agent_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Holds the first unread turn of the user until the transaction ends; `false`: there is none. Whoever else holds it is
/// waited for; an erasure of the user has then left none.
pub async fn hold_unread(connection: &mut PgConnection, user: &UserId) -> Result<bool, sqlx::Error> {
    let held = sqlx::query!(
        "select from memory_turns where user_id = $1 order by session_id, seq limit 1 for update",
        user.as_str(),
    );
    Ok(held.fetch_optional(connection).await?.is_some())
}

/// The user's unread turns, oldest first, those that were refused last.
pub async fn unread_turns(db: &PgPool, user: &UserId, limit: usize) -> Result<Vec<Turn>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select t.session_id, t.seq, t.agent_id, t.refused, r.input, r.content, r.created_at
        from memory_turns t join runs r using (session_id, seq)
        where t.user_id = $1
        order by t.refused, r.created_at, t.session_id, t.seq
        limit $2
        "#,
        user.as_str(),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Turn {
            session_id: SessionId::stored(row.session_id),
            seq: row.seq,
            agent_id: row.agent_id,
            input: row.input,
            content: row.content,
            created_at: row.created_at,
            refused: row.refused,
        })
        .collect())
}

/// Notes that no answer to the turn could be used.
pub async fn mark_refused(db: &PgPool, user: &UserId, turn: &Turn) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update memory_turns set refused = true where user_id = $1 and session_id = $2 and seq = $3",
        user.as_str(),
        turn.session_id.as_str(),
        turn.seq,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Marks turns as read and holds their runs until the transaction ends. Answers those that were unread and are still
/// there, in the order given.
pub async fn take_turns(
    connection: &mut PgConnection,
    user: &UserId,
    turns: &[Turn],
) -> Result<Vec<Source>, sqlx::Error> {
    let sessions: Vec<&str> = turns.iter().map(|turn| turn.session_id.as_str()).collect();
    let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq).collect();
    let held = sqlx::query!(
        r#"
        select r.session_id, r.seq
        from unnest($2::text[], $3::bigint[]) with ordinality as asked (session_id, seq, n)
        join memory_turns t on t.user_id = $1 and t.session_id = asked.session_id and t.seq = asked.seq
        join runs r on r.session_id = asked.session_id and r.seq = asked.seq
        order by asked.n
        for key share of r
        "#,
        user.as_str(),
        &sessions as &[&str],
        &seqs,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        delete from memory_turns t
        using unnest($2::text[], $3::bigint[]) as read (session_id, seq)
        where t.user_id = $1 and t.session_id = read.session_id and t.seq = read.seq
        "#,
        user.as_str(),
        &sessions as &[&str],
        &seqs,
    )
    .execute(connection)
    .await?;
    Ok(held.into_iter().map(|row| Source { session_id: SessionId::stored(row.session_id), seq: row.seq }).collect())
}
