//! Whose turn it is: runs that wait for their session, and background runs that wait for a process.

use serde_json::{Map, Value};
use sqlx::{PgPool, types::Json};

use crate::model::{Claim, Opening, ProcessId, RunId, SessionId, TenantId, UserId};

/// Begins a run that has waited in this process, if it is its turn and the process is registered. Returns the session's
/// state.
pub async fn begin(db: &PgPool, claim: &Claim) -> Result<Option<Map<String, Value>>, sqlx::Error> {
    let state = sqlx::query_scalar!(
        r#"
        with durability as (
            select set_config('synchronous_commit', 'off', true)
        ), session as (
            select s.session_state
            from sessions s, durability
            where s.tenant_id = $1 and s.session_id = $2 and s.active_seq = $3
              and exists (select from processes where process_id = $5)
            for no key update of s
        )
        update open_runs q set status = 'RUNNING', process_id = $5, waiter_id = null, attempts = 1
        from session
        where q.tenant_id = $1 and q.session_id = $2 and q.seq = $3 and q.run_id = $4 and q.status = 'PENDING'
        returning session.session_state as "state: Json<Map<String, Value>>"
        "#,
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        claim.process as Option<ProcessId>,
    )
    .fetch_optional(db)
    .await?;
    Ok(state.map(|state| state.0))
}

/// A background run that this process has taken.
#[derive(Debug)]
pub struct Taken {
    pub claim: Claim,
    /// The serialized `runs::spec::RunSpec`.
    pub request: Option<Value>,
    pub opening: Opening,
    pub session_state: Map<String, Value>,
    /// 1 for the first attempt.
    pub attempt: i16,
    /// The index after its last stored event.
    pub heard: i32,
}

/// Whose background run was taken last: a tenant, and its user or empty for its runs without a user.
#[derive(Clone, Debug, Default)]
pub struct Served {
    tenant_id: String,
    share: String,
}

/// Takes background runs whose turn it is and that no process has: round-robin over the users of all tenants, and the
/// oldest first of each user. Skips runs that `process` has declined, and runs whose pause is not over.
///
/// The cost does not depend on the length of the queue: a few index entries for each run that may be taken.
#[expect(clippy::too_many_lines, reason = "one statement, and what it answers with")]
pub async fn take(
    db: &PgPool,
    process: ProcessId,
    at_most: i64,
    served: &mut Served,
) -> Result<Vec<Taken>, sqlx::Error> {
    /// Extra candidates, because other processes may have locked some.
    const SPARE: i64 = 4;
    let rows = sqlx::query!(
        r#"
        with recursive ready as not materialized (
            select tenant_id, session_id, seq, run_id, share
            from open_runs
            where background and process_id is null and ready
              and (not_before is null or not_before <= now()) and not $1 = any(declined_by)
        ), users (place, tenant_id, share, is_past_end) as (
            select 0, $5::text collate "C", $3::text collate "C", false
            union all
            -- The next user; after the last one the first, and so on to the one whose turn was last.
            select u.place + 1, next.tenant_id, next.share, next.is_past_end
            from users u cross join lateral (
                (
                    select q.tenant_id, q.share, false as is_past_end
                    from ready q
                    where (q.tenant_id, q.share) > (u.tenant_id, u.share) and not u.is_past_end
                    order by q.tenant_id, q.share
                    limit 1
                )
                union all
                (
                    select q.tenant_id, q.share, true
                    from ready q
                    where (q.tenant_id, q.share) > (u.tenant_id, u.share) and (q.tenant_id, q.share) <= ($5, $3)
                      and u.is_past_end
                    order by q.tenant_id, q.share
                    limit 1
                )
                union all
                (
                    select q.tenant_id, q.share, true
                    from ready q
                    where (q.tenant_id, q.share) <= ($5, $3) and not u.is_past_end
                    order by q.tenant_id, q.share
                    limit 1
                )
                order by is_past_end
                limit 1
            ) next
            where u.place < $2::bigint + $4::bigint
        ), candidate as (
            select q.tenant_id, q.session_id, q.seq, u.share, u.place,
                   row_number() over (partition by u.place order by q.run_id) as round
            from users u cross join lateral (
                select tenant_id, session_id, seq, run_id
                from ready
                where ready.tenant_id = u.tenant_id and ready.share = u.share
                order by run_id
                limit $2::bigint + $4::bigint
            ) q
            where u.place > 0
        ), first as (
            select * from candidate order by round, place limit $2::bigint + $4::bigint
        ), free as (
            select c.tenant_id, c.session_id, c.seq, c.share, c.place, c.round, s.session_state
            from first c
            join sessions s on s.tenant_id = c.tenant_id and s.session_id = c.session_id and s.active_seq = c.seq
            where exists (select from processes where process_id = $1)
            order by c.round, c.place
            limit $2
            for no key update of s skip locked
        ), taken as (
            update open_runs q set status = 'RUNNING', process_id = $1, attempts = q.attempts + 1
            from free
            where q.tenant_id = free.tenant_id and q.session_id = free.session_id and q.seq = free.seq
              and q.status = 'PENDING' and q.process_id is null
            returning q.tenant_id, q.session_id, q.seq, q.request, q.attempts
        )
        select free.tenant_id, run.session_id, run.seq, run.run_id as "run_id: RunId", run.component_id, run.user_id,
               run.input, run.metadata as "metadata: Json<Map<String, Value>>", run.created_at, run.message_id,
               run.forked_from_run_id as "forked_from_run_id: RunId", run.regenerated_from as "regenerated_from: RunId",
               taken.request as "request?", taken.attempts, free.session_state as "state: Json<Map<String, Value>>",
               (
                   select coalesce(max(e.first_index + cardinality(e.names)), 0)
                   from run_events e
                   where e.tenant_id = run.tenant_id and e.session_id = run.session_id and e.seq = run.seq
               ) as "heard!",
               free.share as "share!"
        from free
        join taken using (tenant_id, session_id, seq)
        join runs run using (tenant_id, session_id, seq)
        order by free.round, free.place
        "#,
        process as ProcessId,
        at_most,
        served.share,
        SPARE,
        served.tenant_id,
    )
    .fetch_all(db)
    .await?;
    if let Some(last) = rows.last() {
        *served = Served { tenant_id: last.tenant_id.clone(), share: last.share.clone() };
    }
    let taken = rows.into_iter().map(|row| Taken {
        claim: Claim {
            tenant_id: TenantId::stored(row.tenant_id),
            session_id: SessionId::stored(row.session_id),
            seq: row.seq,
            run_id: row.run_id,
            process: Some(process),
        },
        request: row.request,
        opening: Opening {
            run_id: row.run_id,
            component_id: row.component_id,
            user_id: row.user_id.map(UserId::stored),
            input: row.input,
            metadata: row.metadata.0,
            message_id: row.message_id.unwrap_or_default(),
            forked_from_run_id: row.forked_from_run_id,
            regenerated_from: row.regenerated_from,
            created_at: row.created_at,
        },
        session_state: row.state.0,
        attempt: row.attempts,
        heard: row.heard,
    });
    Ok(taken.collect())
}

/// The number of background runs of a tenant that wait for a process or for their turn.
#[derive(Debug)]
pub struct Waiting {
    pub all: i64,
    /// Of one user, or of all runs without a user.
    pub of_share: i64,
}

/// Counts waiting background runs up to the limits, which bounds the cost.
pub async fn count_background(
    db: &PgPool,
    tenant: &TenantId,
    user: Option<&UserId>,
    (of_all, of_user): (u32, u32),
) -> Result<Waiting, sqlx::Error> {
    sqlx::query_as!(
        Waiting,
        r#"
        select (
            select count(*) from (
                select from open_runs where tenant_id = $1 and background and process_id is null limit $3
            ) q
        ) as "all!", (
            select count(*) from (
                select from open_runs
                where tenant_id = $1 and background and process_id is null and share = $2
                limit $4
            ) q
        ) as "of_share!"
        "#,
        tenant.as_str(),
        user.map_or("", UserId::as_str),
        i64::from(of_all),
        i64::from(of_user),
    )
    .fetch_one(db)
    .await
}

/// The id of a waiting run, and the process that waits for its turn, if any. `None` if it is no longer waiting.
pub async fn waiter(
    db: &PgPool,
    tenant: &TenantId,
    session_id: &SessionId,
    seq: i64,
) -> Result<Option<(RunId, Option<ProcessId>)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select run_id as "run_id: RunId", waiter_id as "waiter_id: ProcessId"
        from open_runs
        where tenant_id = $1 and session_id = $2 and seq = $3 and status = 'PENDING'
        "#,
        tenant.as_str(),
        session_id.as_str(),
        seq,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.run_id, row.waiter_id)))
}

/// Notifies all processes that listen on the channel.
pub async fn notify(db: &PgPool, channel: &str, message: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_notify($1, $2)", channel, message).execute(db).await?;
    Ok(())
}
