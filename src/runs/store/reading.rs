//! Runs and messages for clients. Every statement filters by a [`Scope`]: a session is visible to its user, and in a
//! session without a user each run is visible to the user who asked for it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::rows::{RunRow, select_messages, select_runs};
use crate::model::{Message, Run, RunId, RunStatus, Scope, SessionId, paging::SortOrder};

/// One run by its id, in any session.
pub async fn find(db: &PgPool, scope: &Scope, run_id: RunId) -> Result<Option<Run>, sqlx::Error> {
    let row = select_runs!(
        "where r.tenant_id = $1 and r.run_id = $2 and ($3::text is null or coalesce(s.user_id, r.user_id) = $3)",
        scope.tenant(),
        run_id as RunId,
        scope.user()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(RunRow::into_run))
}

/// One run by its number.
pub async fn find_by_seq(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    seq: i64,
) -> Result<Option<Run>, sqlx::Error> {
    let row = select_runs!(
        "where r.tenant_id = $1 and r.session_id = $2 and r.seq = $3
           and ($4::text is null or coalesce(s.user_id, r.user_id) = $4)",
        scope.tenant(),
        session_id.as_str(),
        seq,
        scope.user(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(RunRow::into_run))
}

/// Whether a run after `seq` has completed or is still open.
pub async fn is_followed(db: &PgPool, scope: &Scope, session_id: &SessionId, seq: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from run_records r join sessions s using (tenant_id, session_id)
            where r.tenant_id = $1 and r.session_id = $2 and r.seq > $3
              and ($4::text is null or s.user_id is null or s.user_id = $4)
              and r.status in ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED')
        ) as "is_followed!"
        "#,
        scope.tenant(),
        session_id.as_str(),
        seq,
        scope.user(),
    )
    .fetch_one(db)
    .await
}

/// The most runs of a session in one list.
pub const MAX_RUNS: u32 = 1_000;

/// Which runs of a session to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub component_id: Option<String>,
    pub statuses: Option<Vec<RunStatus>>,
    pub created_after: Option<DateTime<Utc>>,
    pub created_before: Option<DateTime<Utc>>,
    pub limit: i64,
}

/// The newest runs of a session that match the filter, oldest first.
pub async fn list(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    filter: &RunFilter,
) -> Result<Vec<Run>, sqlx::Error> {
    let rows = select_runs!(
        r"
        where r.tenant_id = $1 and r.session_id = $2
          and ($3::text is null or s.user_id = $3)
          and ($4::text is null or r.component_id = $4)
          and ($5::run_status[] is null or r.status = any($5))
          and ($6::timestamptz is null or r.created_at >= $6)
          and ($7::timestamptz is null or r.created_at <= $7)
        order by r.seq desc
        limit $8
        ",
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        filter.component_id,
        filter.statuses.as_deref() as Option<&[RunStatus]>,
        filter.created_after,
        filter.created_before,
        filter.limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().rev().map(RunRow::into_run).collect())
}

/// The messages of these runs of a session, by the run's number.
pub async fn messages_of(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<HashMap<i64, Vec<Message>>, sqlx::Error> {
    let rows = select_messages!(
        r"
        from sessions s
        join runs r using (tenant_id, session_id)
        cross join lateral (
            select * from messages
            where messages.tenant_id = $1 and messages.session_id = $2 and messages.seq = r.seq
        ) m
        where s.tenant_id = $1 and s.session_id = $2 and r.seq = any($3)
          and ($4::text is null or coalesce(s.user_id, r.user_id) = $4)
        order by m.seq, m.index
        ",
        scope.tenant(),
        session_id.as_str(),
        seqs,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    let mut by_run: HashMap<i64, Vec<Message>> = HashMap::new();
    for row in rows {
        by_run.entry(row.seq).or_default().push(row.into_message());
    }
    Ok(by_run)
}

/// The newest `limit` messages of users and assistants in a session, oldest first. Each comes with its position: the
/// run's number and the index within the run. `before` excludes that position and all after it.
pub async fn conversation(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    before: Option<(i64, i32)>,
    limit: i64,
) -> Result<Vec<((i64, i32), Message)>, sqlx::Error> {
    let (before_seq, before_index) = before.unwrap_or((i64::MAX, 0));
    let rows = select_messages!(
        r"
        from sessions s
        join runs r using (tenant_id, session_id)
        cross join lateral (
            select * from messages
            where messages.tenant_id = $1 and messages.session_id = $2 and messages.seq = r.seq
              and messages.role in ('user', 'assistant')
        ) m
        where s.tenant_id = $1 and s.session_id = $2
          and ($3::text is null or s.user_id = $3)
          and r.seq <= $4 and (m.seq < $4 or m.index < $5)
        order by r.seq desc, m.index desc
        limit $6
        ",
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        before_seq,
        before_index,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().rev().map(|row| ((row.seq, row.index), row.into_message())).collect())
}

/// Messages of a session in this order, after the position `after`, if given. Each comes with its position (the run's
/// number and the index within the run) and the run's id.
pub async fn messages_after(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    order: SortOrder,
    after: Option<(i64, i32)>,
    limit: i64,
) -> Result<Vec<((i64, i32), RunId, Message)>, sqlx::Error> {
    macro_rules! page {
        ($beyond:literal, $direction:literal, $first:expr) => {{
            let (seq, index) = after.unwrap_or($first);
            select_messages!(
                "from sessions s
                join runs r using (tenant_id, session_id)
                cross join lateral (
                    select * from messages
                    where messages.tenant_id = $1 and messages.session_id = $2 and messages.seq = r.seq
                ) m
                where s.tenant_id = $1 and s.session_id = $2 and ($3::text is null or s.user_id = $3)
                  and r.seq "
                    + $beyond
                    + "= $4 and (m.seq "
                    + $beyond
                    + " $4 or m.index "
                    + $beyond
                    + " $5) order by r.seq "
                    + $direction
                    + ", m.index "
                    + $direction
                    + " limit $6",
                scope.tenant(),
                session_id.as_str(),
                scope.user(),
                seq,
                index,
                limit,
            )
            .fetch_all(db)
            .await?
        }};
    }
    let rows = match order {
        SortOrder::Asc => page!(">", "asc", (0, 0)),
        SortOrder::Desc => page!("<", "desc", (i64::MAX, 0)),
    };
    let mut seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    seqs.dedup();
    let ids = sqlx::query!(
        r#"
        select r.seq, r.run_id as "run_id: RunId"
        from runs r join sessions s using (tenant_id, session_id)
        where r.tenant_id = $1 and r.session_id = $2 and r.seq = any($3) and ($4::text is null or s.user_id = $4)
        "#,
        scope.tenant(),
        session_id.as_str(),
        &seqs,
        scope.user(),
    )
    .fetch_all(db)
    .await?;
    let ids: HashMap<i64, RunId> = ids.into_iter().map(|row| (row.seq, row.run_id)).collect();
    let with_id =
        rows.into_iter().filter_map(|row| Some(((row.seq, row.index), *ids.get(&row.seq)?, row.into_message())));
    Ok(with_id.collect())
}
