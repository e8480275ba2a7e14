//! Summaries in PostgreSQL: SQL in, rows out.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::model::{SummaryVersion, WrittenBy};
use crate::{
    config::HistorySettings,
    model::{Scope, SessionId, TenantId},
};

/// The summary columns of a session's row, with the newest version.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    pub(crate) summary_through: i64,
    pub(crate) unfolded_tokens: i64,
    pub(crate) unfolded_runs: i64,
    pub(crate) summary: Option<String>,
    /// The part about the user, with which the summary begins.
    pub(crate) about_user: String,
    pub(crate) topics: Vec<String>,
    pub(crate) created_at: Option<DateTime<Utc>>,
}

/// `None` if the session does not exist.
pub(crate) async fn boundary(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
) -> Result<Option<Boundary>, sqlx::Error> {
    sqlx::query_as!(
        Boundary,
        r#"
        select s.summary_through, s.unfolded_tokens, s.unfolded_runs, v.summary as "summary?",
               coalesce(v.about_user, '') as "about_user!", coalesce(v.topics, '{}') as "topics!",
               v.created_at as "created_at?"
        from sessions s
        left join summaries v
            on v.tenant_id = s.tenant_id and v.session_id = s.session_id and v.through_seq = s.summary_through
        where s.tenant_id = $1 and s.session_id = $2 and ($3::text is null or s.user_id = $3)
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
    )
    .fetch_optional(db)
    .await
}

/// A run that may be folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) seq: i64,
    /// `None` if the run was stored without a token count.
    pub(crate) tokens: Option<i32>,
}

/// The oldest completed runs after the boundary, up to `until` if given. A run that has not ended blocks all later
/// ones, because it has to be covered before them.
pub(crate) async fn candidates(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    after: i64,
    until: Option<i64>,
    limit: i64,
) -> Result<Vec<Candidate>, sqlx::Error> {
    sqlx::query_as!(
        Candidate,
        r#"
        select o.seq, o.tokens
        from outcomes o join sessions s using (tenant_id, session_id)
        where o.tenant_id = $1 and o.session_id = $2
          and ($3::text is null or s.user_id = $3)
          and o.seq > $4
          and ($5::bigint is null or o.seq <= $5)
          and o.status = 'COMPLETED'
          and not exists (
              select from open_runs q
              where q.tenant_id = $1 and q.session_id = $2 and q.seq > $4 and q.seq < o.seq
          )
        order by o.seq
        limit $6
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        after,
        until,
        limit,
    )
    .fetch_all(db)
    .await
}

/// The newest completed run that has `newer` completed runs after it. `None` if there are too few.
pub(crate) async fn run_before_newest(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    newer: i64,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select o.seq
        from outcomes o join sessions s using (tenant_id, session_id)
        where o.tenant_id = $1 and o.session_id = $2 and ($3::text is null or s.user_id = $3)
          and o.status = 'COMPLETED'
        order by o.seq desc
        offset $4 limit 1
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        newer,
    )
    .fetch_optional(db)
    .await
}

/// Locks the session's row if its boundary is still `through`, and returns whether it is.
pub(crate) async fn lock_boundary(
    connection: &mut PgConnection,
    scope: &Scope,
    session_id: &SessionId,
    through: i64,
) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query!(
        r#"
        select s.session_id
        from sessions s
        where s.tenant_id = $1 and s.session_id = $2 and ($3::text is null or s.user_id = $3)
          and s.summary_through = $4
        for no key update
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        through,
    )
    .fetch_optional(connection)
    .await?;
    Ok(locked.is_some())
}

/// A version to store.
#[derive(Debug)]
pub(crate) struct NewVersion<'a> {
    pub(crate) version: &'a SummaryVersion,
    /// The runs that it adds.
    pub(crate) folded: &'a [i64],
    /// The share of these runs in the session's `unfolded_tokens`.
    pub(crate) counted_tokens: i64,
    /// If more than this stays unfolded, another fold is due.
    pub(crate) limits: HistorySettings,
}

/// Moves the boundary and stores the version. The caller has locked the session's row with [`lock_boundary`]. Returns
/// whether another fold is due; `None` if one of the folded runs was deleted, or is not completed any more.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    new: &NewVersion<'_>,
) -> Result<Option<bool>, sqlx::Error> {
    let NewVersion { version, folded, counted_tokens, limits } = new;
    sqlx::query_scalar!(
        r#"
        with session as (
            update sessions set
                summary_through = $3,
                unfolded_tokens = greatest(0, unfolded_tokens - $11),
                unfolded_runs = greatest(0, unfolded_runs - cardinality($13::bigint[])),
                fold_queued_by = case
                    when unfolded_tokens - $11 > $12 or unfolded_runs - cardinality($13::bigint[]) > $16 then last_seq
                end,
                version = version + 1
            where tenant_id = $1 and session_id = $2
              and cardinality($13::bigint[]) = (
                  select count(*) from outcomes o
                  where o.tenant_id = $1 and o.session_id = $2 and o.seq = any($13) and o.status = 'COMPLETED'
              )
            returning fold_queued_by
        ), stored as (
            insert into summaries (
                tenant_id, session_id, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens,
                model, model_provider, created_at
            )
            select $1, $2, $3, $4, $15, $5, $6, $7, $8, $9, $10, $14
            from session
        )
        select fold_queued_by is not null as "is_due!" from session
        "#,
        tenant.as_str(),
        session_id.as_str(),
        version.through_seq,
        version.summary,
        &version.topics,
        version.tokens,
        version.folded_runs,
        version.folded_tokens,
        version.model.model,
        version.model.model_provider,
        counted_tokens,
        i64::from(limits.high_tokens),
        *folded as &[i64],
        version.created_at,
        version.about_user,
        i64::from(limits.max_runs),
    )
    .fetch_optional(connection)
    .await
}

/// Records that no fold is queued any more.
pub(crate) async fn clear_queued(db: &PgPool, tenant: &TenantId, session_id: &SessionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sessions set fold_queued_by = null where tenant_id = $1 and session_id = $2",
        tenant.as_str(),
        session_id.as_str(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The versions of a session's summary, the newest first, below `before` if given.
pub(crate) async fn versions(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<SummaryVersion>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select v.through_seq, v.summary, v.about_user, v.topics, v.tokens, v.folded_runs, v.folded_tokens, v.model,
               v.model_provider, v.created_at
        from summaries v join sessions s using (tenant_id, session_id)
        where v.tenant_id = $1 and v.session_id = $2
          and ($3::text is null or s.user_id = $3)
          and ($4::bigint is null or v.through_seq < $4)
        order by v.through_seq desc
        limit $5
        "#,
        scope.tenant(),
        session_id.as_str(),
        scope.user(),
        before,
        limit,
    )
    .fetch_all(db)
    .await?;
    let versions = rows.into_iter().map(|row| SummaryVersion {
        through_seq: row.through_seq,
        summary: row.summary,
        about_user: row.about_user,
        topics: row.topics,
        tokens: row.tokens,
        folded_runs: row.folded_runs,
        folded_tokens: row.folded_tokens,
        model: WrittenBy { model: row.model, model_provider: row.model_provider },
        created_at: row.created_at,
    });
    Ok(versions.collect())
}

/// Deletes the versions that cover any of these runs. Returns whether there were any.
pub(crate) async fn delete_covering(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!(
        "
        delete from summaries
        where tenant_id = $1 and session_id = $2 and through_seq >= (select min(seq) from unnest($3::bigint[]) as seq)
        ",
        tenant.as_str(),
        session_id.as_str(),
        seqs,
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Moves the boundary to the newest version, and recounts the completed runs after it, without the runs `gone`. Returns
/// the session's component, whose agent may have to fold it.
pub(crate) async fn recount(
    connection: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    gone: &[i64],
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        update sessions s set
            summary_through = boundary.through_seq,
            (unfolded_tokens, unfolded_runs) = (
                select coalesce(sum(o.tokens), 0), count(*) from outcomes o
                where o.tenant_id = $1 and o.session_id = $2 and o.seq > boundary.through_seq
                  and o.status = 'COMPLETED' and o.seq <> all($3)
            ),
            version = s.version + 1
        from (
            select coalesce(max(v.through_seq), 0) as through_seq from summaries v
            where v.tenant_id = $1 and v.session_id = $2
        ) boundary
        where s.tenant_id = $1 and s.session_id = $2
        returning s.component_id
        "#,
        tenant.as_str(),
        session_id.as_str(),
        gone,
    )
    .fetch_optional(connection)
    .await
    .map(Option::flatten)
}

/// Stores a title from a model, unless the user has named the session.
pub async fn set_title(db: &PgPool, tenant: &TenantId, session_id: &SessionId, title: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update sessions set session_name = $3, named_by = 'model', version = version + 1
        where tenant_id = $1 and session_id = $2 and named_by is distinct from 'user'
        ",
        tenant.as_str(),
        session_id.as_str(),
        title,
    )
    .execute(db)
    .await?;
    Ok(())
}
