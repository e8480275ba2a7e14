//! The runs that memories are still to be extracted from, and their failed attempts.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::model::{SessionId, UserId, memory::Source};

/// A settled run that memories are to be extracted from.
#[derive(Clone, Debug)]
pub struct Turn {
    pub session_id: SessionId,
    pub seq: i64,
    pub agent_id: String,
    /// The user's message.
    pub input: String,
    /// The answer.
    pub content: Option<String>,
    pub created_at: DateTime<Utc>,
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

/// Locks the user's first unread turn until the transaction ends; `false` if there is none. Waits for other holders of
/// the row lock: if one was an erasure of the user, no turn is left.
pub async fn hold_unread(connection: &mut PgConnection, user: &UserId) -> Result<bool, sqlx::Error> {
    let held = sqlx::query!(
        "select from memory_turns where user_id = $1 and not set_aside order by session_id, seq limit 1 for update",
        user.as_str(),
    );
    Ok(held.fetch_optional(connection).await?.is_some())
}

/// The user's turns without a failed attempt, oldest first, except those of `without_agents`.
pub async fn new_turns(
    db: &PgPool,
    user: &UserId,
    without_agents: &[String],
    limit: i64,
) -> Result<Vec<Turn>, sqlx::Error> {
    let rows = sqlx::query_as!(
        TurnRow,
        r#"
        select t.session_id, t.seq, t.agent_id, r.input, r.content, r.created_at
        from memory_turns t join runs r using (session_id, seq)
        where t.user_id = $1 and not t.set_aside and t.attempts = 0 and t.agent_id <> all($2)
        order by r.created_at, t.session_id, t.seq
        limit $3
        "#,
        user.as_str(),
        without_agents,
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(TurnRow::into_turn).collect())
}

/// The user's turns to be retried, those with the fewest attempts first.
pub async fn tried_turns(db: &PgPool, user: &UserId, limit: i64) -> Result<Vec<Turn>, sqlx::Error> {
    let rows = sqlx::query_as!(
        TurnRow,
        r#"
        select t.session_id, t.seq, t.agent_id, r.input, r.content, r.created_at
        from memory_turns t join runs r using (session_id, seq)
        where t.user_id = $1 and not t.set_aside and t.attempts > 0
        order by t.attempts, r.created_at, t.session_id, t.seq
        limit $2
        "#,
        user.as_str(),
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(TurnRow::into_turn).collect())
}

struct TurnRow {
    session_id: String,
    seq: i64,
    agent_id: String,
    input: String,
    content: Option<String>,
    created_at: DateTime<Utc>,
}

impl TurnRow {
    fn into_turn(self) -> Turn {
        Turn {
            session_id: SessionId::stored(self.session_id),
            seq: self.seq,
            agent_id: self.agent_id,
            input: self.input,
            content: self.content,
            created_at: self.created_at,
        }
    }
}

/// Counts a failed attempt for these turns and sets those aside that have reached `most`. Returns how many were set
/// aside.
pub async fn count_attempt(
    connection: &mut PgConnection,
    user: &UserId,
    turns: &[Turn],
    most: i16,
) -> Result<usize, sqlx::Error> {
    let sessions: Vec<&str> = turns.iter().map(|turn| turn.session_id.as_str()).collect();
    let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq).collect();
    let set_aside = sqlx::query_scalar!(
        r#"
        update memory_turns t
        set attempts = t.attempts + 1, set_aside = t.attempts + 1 >= $4, refused = true
        from unnest($2::text[], $3::bigint[]) as failed (session_id, seq)
        where t.user_id = $1 and t.session_id = failed.session_id and t.seq = failed.seq and not t.set_aside
        returning t.set_aside
        "#,
        user.as_str(),
        &sessions as &[&str],
        &seqs,
        i32::from(most),
    )
    .fetch_all(connection)
    .await?;
    Ok(set_aside.into_iter().filter(|is_set_aside| *is_set_aside).count())
}

/// Resets the attempts of the user's turns that were set aside. Returns whether there were any.
pub async fn take_up_again(connection: &mut PgConnection, user: &UserId) -> Result<bool, sqlx::Error> {
    let taken_up = sqlx::query!(
        "update memory_turns set attempts = 0, set_aside = false, refused = false where user_id = $1 and set_aside",
        user.as_str(),
    );
    Ok(taken_up.execute(connection).await?.rows_affected() > 0)
}

/// Marks turns as read and locks their runs against deletion until the transaction ends. Returns those that were still
/// unread and whose runs still exist, in the order given.
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
