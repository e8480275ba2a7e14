//! The runs that memories are still to be extracted from, and their failed attempts.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::model::{Role, SessionId, TenantId, UserId, memory::Source};

/// How many of a run's messages beside the user's are read; the last ones.
const MOST_ANSWERS: i64 = 8;

/// A settled run that memories are to be extracted from.
#[derive(Clone, Debug)]
pub struct Turn {
    pub session_id: SessionId,
    pub seq: i64,
    pub agent_id: String,
    /// What was said, in order: the user's message, if it is there, then what the assistant said.
    pub messages: Vec<Said>,
}

/// A message of a turn.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its place within the run. The user's message is 0.
    pub index: i32,
    pub role: Role,
    pub content: String,
    pub created_at: DateTime<Utc>,
}

impl Turn {
    /// The user's message; empty if there is none.
    pub fn input(&self) -> &str {
        let of_user = self.messages.iter().find(|said| said.role == Role::User);
        of_user.map_or("", |said| &said.content)
    }

    /// What the assistant said.
    pub fn answers(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().filter(|said| said.role == Role::Assistant).map(|said| said.content.as_str())
    }

    /// One of its messages as the source of a memory.
    pub fn source(&self, index: i32) -> Source {
        Source { session_id: self.session_id.clone(), seq: self.seq, index }
    }

    fn has_input(&self) -> bool {
        self.messages.iter().any(|said| said.role == Role::User)
    }
}

/// Marks runs of a session as unread.
pub async fn note_turns(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    session_id: &SessionId,
    seqs: &[i64],
    agent_id: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into memory_turns (tenant_id, user_id, session_id, seq, agent_id)
         select $1, $2, $3, seq, $5 from unnest($4::bigint[]) seq
         on conflict do nothing",
        tenant.as_str(),
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
pub async fn hold_unread(connection: &mut PgConnection, tenant: &TenantId, user: &UserId) -> Result<bool, sqlx::Error> {
    let held = sqlx::query!(
        "select from memory_turns
         where tenant_id = $1 and user_id = $2 and not set_aside
         order by session_id, seq
         limit 1
         for update",
        tenant.as_str(),
        user.as_str(),
    );
    Ok(held.fetch_optional(connection).await?.is_some())
}

/// The user's turns without a failed attempt, oldest first, except those of `without_agents`.
pub async fn new_turns(
    db: &PgPool,
    tenant: &TenantId,
    user: &UserId,
    without_agents: &[String],
    limit: i64,
) -> Result<Vec<Turn>, sqlx::Error> {
    let rows = sqlx::query_as!(
        TurnRow,
        r#"
        select t.session_id, t.seq, t.agent_id
        from memory_turns t join runs r using (tenant_id, session_id, seq)
        where t.tenant_id = $1 and t.user_id = $2 and not t.set_aside and t.attempts = 0 and t.agent_id <> all($3)
        order by r.created_at, t.session_id, t.seq
        limit $4
        "#,
        tenant.as_str(),
        user.as_str(),
        without_agents,
        limit,
    );
    with_messages(db, tenant, rows.fetch_all(db).await?).await
}

/// The user's turns to be retried, those with the fewest attempts first.
pub async fn tried_turns(db: &PgPool, tenant: &TenantId, user: &UserId, limit: i64) -> Result<Vec<Turn>, sqlx::Error> {
    let rows = sqlx::query_as!(
        TurnRow,
        r#"
        select t.session_id, t.seq, t.agent_id
        from memory_turns t join runs r using (tenant_id, session_id, seq)
        where t.tenant_id = $1 and t.user_id = $2 and not t.set_aside and t.attempts > 0
        order by t.attempts, r.created_at, t.session_id, t.seq
        limit $3
        "#,
        tenant.as_str(),
        user.as_str(),
        limit,
    );
    with_messages(db, tenant, rows.fetch_all(db).await?).await
}

/// Whether turns of the user are to be retried.
pub async fn has_tried_turns(db: &PgPool, tenant: &TenantId, user: &UserId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from memory_turns where tenant_id = $1 and user_id = $2 and not set_aside and attempts > 0
        ) as "exists!"
        "#,
        tenant.as_str(),
        user.as_str(),
    )
    .fetch_one(db)
    .await
}

struct TurnRow {
    session_id: String,
    seq: i64,
    agent_id: String,
}

/// Reads what was said in these turns. Results of tools are not read, nor messages without a text.
async fn with_messages(db: &PgPool, tenant: &TenantId, rows: Vec<TurnRow>) -> Result<Vec<Turn>, sqlx::Error> {
    let sessions: Vec<&str> = rows.iter().map(|row| row.session_id.as_str()).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    let said = sqlx::query!(
        r#"
        select turn.n as "n!", said.index as "index!", said.role as "role!: Role", said.content as "content!",
               said.created_at as "created_at!"
        from unnest($2::text[], $3::bigint[]) with ordinality as turn (session_id, seq, n) cross join lateral (
            select m.index, m.role, m.content, m.created_at
            from messages m
            where m.tenant_id = $1 and m.session_id = turn.session_id and m.seq = turn.seq
              and m.role <> 'tool' and m.content <> ''
            order by m.index = 0 desc, m.index desc
            limit 1 + $4::bigint
        ) said
        order by turn.n, said.index
        "#,
        tenant.as_str(),
        &sessions as &[&str],
        &seqs,
        MOST_ANSWERS,
    )
    .fetch_all(db)
    .await?;
    let mut by_turn: HashMap<i64, Vec<Said>> = HashMap::new();
    for row in said {
        let said = Said { index: row.index, role: row.role, content: row.content, created_at: row.created_at };
        by_turn.entry(row.n).or_default().push(said);
    }
    let turn = |(n, row): (i64, TurnRow)| Turn {
        session_id: SessionId::stored(row.session_id),
        seq: row.seq,
        agent_id: row.agent_id,
        messages: by_turn.remove(&n).unwrap_or_default(),
    };
    Ok((1..).zip(rows).map(turn).collect())
}

/// Counts a failed attempt for these turns and sets those aside that have reached `most`. Returns how many were set
/// aside.
pub async fn count_attempt(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    turns: &[Turn],
    most: i16,
) -> Result<usize, sqlx::Error> {
    let sessions: Vec<&str> = turns.iter().map(|turn| turn.session_id.as_str()).collect();
    let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq).collect();
    let set_aside = sqlx::query_scalar!(
        r#"
        update memory_turns t
        set attempts = t.attempts + 1, set_aside = t.attempts + 1 >= $5
        from unnest($3::text[], $4::bigint[]) as failed (session_id, seq)
        where t.tenant_id = $1 and t.user_id = $2 and t.session_id = failed.session_id and t.seq = failed.seq
          and not t.set_aside
        returning t.set_aside
        "#,
        tenant.as_str(),
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
pub async fn take_up_again(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
) -> Result<bool, sqlx::Error> {
    let taken_up = sqlx::query!(
        "update memory_turns set attempts = 0, set_aside = false where tenant_id = $1 and user_id = $2 and set_aside",
        tenant.as_str(),
        user.as_str(),
    );
    Ok(taken_up.execute(connection).await?.rows_affected() > 0)
}

/// Locks the sessions of these turns against deletions in them, until the transaction ends.
pub async fn hold_sessions(
    connection: &mut PgConnection,
    tenant: &TenantId,
    turns: &[Turn],
) -> Result<(), sqlx::Error> {
    let sessions: Vec<&str> = turns.iter().map(|turn| turn.session_id.as_str()).collect();
    sqlx::query!(
        "
        select from sessions
        where tenant_id = $1 and session_id = any($2)
        order by session_id
        for key share
        ",
        tenant.as_str(),
        &sessions as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks turns as read and locks their runs until the transaction ends. The caller has locked their sessions with
/// [`hold_sessions`]. Returns the places in `turns` of those that
/// were still unread and whose runs still exist.
///
/// A turn whose user's message was deleted since it was read is not taken: nothing may be learned from it any more. Such
/// a deletion locks the session first. So it waits for this transaction, and then finds the sources that are stored here.
pub async fn take_turns(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    turns: &[Turn],
) -> Result<HashSet<usize>, sqlx::Error> {
    let sessions: Vec<&str> = turns.iter().map(|turn| turn.session_id.as_str()).collect();
    let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq).collect();
    let had_input: Vec<bool> = turns.iter().map(Turn::has_input).collect();
    let taken = sqlx::query_scalar!(
        r#"
        select asked.n as "n!"
        from unnest($3::text[], $4::bigint[], $5::boolean[]) with ordinality as asked (session_id, seq, had_input, n)
        join memory_turns t
          on t.tenant_id = $1 and t.user_id = $2 and t.session_id = asked.session_id and t.seq = asked.seq
        join runs r on r.tenant_id = $1 and r.session_id = asked.session_id and r.seq = asked.seq
        where r.message_id is not null or not asked.had_input
        order by r.session_id, r.seq
        for share of r
        "#,
        tenant.as_str(),
        user.as_str(),
        &sessions as &[&str],
        &seqs,
        &had_input,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        delete from memory_turns t
        using unnest($3::text[], $4::bigint[]) as read (session_id, seq)
        where t.tenant_id = $1 and t.user_id = $2 and t.session_id = read.session_id and t.seq = read.seq
        "#,
        tenant.as_str(),
        user.as_str(),
        &sessions as &[&str],
        &seqs,
    )
    .execute(connection)
    .await?;
    Ok(taken.into_iter().filter_map(|n| usize::try_from(n - 1).ok()).collect())
}
