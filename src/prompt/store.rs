//! What came before a run, for its prompt.
//!
//! This is read for nearly every run, so it takes as few index entries and columns as possible: a row per run, with the
//! user's message and the answer. What lies between them is read afterwards, for the few runs that called tools.

mod rows;

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool, types::Json};

use self::rows::{PastRow, RunRow};
use super::{ContextOptions, History, Past, PastRun, PastSummary, tokens_of_messages};
use crate::{
    model::{Claim, Message, MessageMetrics, RunId, Scope, SessionId, TenantId},
    runs::store::rows::select_messages,
};

/// Reads the summary of the session `s` and the newest runs, if the condition allows it. At most `history_runs` runs are
/// looked at, and only those that fit together are read, however long the session is.
macro_rules! select_past {
    ($condition:literal, $tenant:expr, $session:expr, $options:expr, $before:expr, $replaced:expr, $allowed:expr) => {
        sqlx::query_as!(
            PastRow,
            r#"
            select session.unfolded_tokens as "unfolded_tokens!", session.unfolded_runs as "unfolded_runs!",
                   session.summary_through as "summary_through!",
                   -- Once, not with every run.
                   case when coalesce(past.place, 1) = 1 then v.summary end as summary,
                   case when coalesce(past.place, 1) = 1 then v.topics end as topics,
                   past.seq as "seq?", past.tokens as "tokens?", past.found as "found?", past.input as "input?",
                   past.message_id as "message_id?", past.created_at as "created_at?",
                   past.answer_index as "answer_index?", past.answer_id as "answer_id?", past.content as "content?",
                   past.reasoning as "reasoning?", past.answer_metrics as "answer_metrics?: Json<MessageMetrics>",
                   past.provider_data as "provider_data?", past.answered_at as "answered_at?"
            from (
                select s.unfolded_tokens, s.unfolded_runs, coalesce($8, s.summary_through) as summary_through
                from sessions s
                where s.tenant_id = $1 and s.session_id = $2 and "#
                + $condition
                + r#"
                offset 0
            ) session
            left join summaries v
                on $3 and v.tenant_id = $1 and v.session_id = $2 and v.through_seq = session.summary_through
            left join lateral (
                select newest.*, r.input, r.message_id, r.created_at
                from (
                    select completed.*, count(*) over () as found, row_number() over newest_first as place,
                           sum(least(coalesce(completed.tokens, 0), $6)) over newest_first <= $6 as fits
                    from (
                        select o.seq, o.tokens, o.answer_index, o.answer_id, o.content, o.reasoning, o.answer_metrics,
                               o.provider_data, o.answered_at
                        from outcomes o
                        where o.tenant_id = $1 and o.session_id = $2
                          and o.seq > case when $3 then session.summary_through else 0 end and o.seq < $4
                          and o.status = 'COMPLETED'
                          and o.seq is distinct from $7
                        order by o.seq desc
                        limit $5
                    ) completed
                    window newest_first as (order by completed.seq desc rows unbounded preceding)
                ) newest
                -- One look into the index per run: nobody knows beforehand how few there are, so "offset 0" decides it.
                cross join lateral (
                    select input, message_id, created_at
                    from runs
                    where runs.tenant_id = $1 and runs.session_id = $2 and runs.seq = newest.seq
                    offset 0
                ) r
                where newest.fits
            ) past on true
            "#,
            $tenant.as_str(),
            $session.as_str(),
            $options.add_summary,
            $before,
            i64::from($options.history_runs),
            max_tokens($options),
            $replaced.map(|replaced: Replaced| replaced.seq),
            $replaced.map(|replaced: Replaced| replaced.summary_through),
            $allowed,
        )
    };
}

fn max_tokens(options: &ContextOptions) -> i32 {
    i32::try_from(options.limits.max_tokens).unwrap_or(i32::MAX)
}

/// The past of a run that is being executed, without the run that it replaces, if any.
pub async fn past(
    db: &mut PgConnection,
    claim: &Claim,
    without: Option<RunId>,
    options: &ContextOptions,
) -> Result<Past, sqlx::Error> {
    let replaced = replaced(&mut *db, claim, without).await?;
    let (tenant, session_id) = (&claim.tenant_id, &claim.session_id);
    if options.add_summary || options.keep_summary {
        let rows = select_past!(
            "exists (
                select from open_runs claimed
                where claimed.tenant_id = $1 and claimed.session_id = $2 and claimed.seq = $4 and claimed.run_id = $9
            )",
            tenant,
            session_id,
            options,
            claim.seq,
            replaced,
            claim.run_id as RunId
        );
        let rows = rows.fetch_all(&mut *db).await?;
        return collect(db, tenant, session_id, rows).await;
    }
    let rows = newest(&mut *db, claim, replaced, i64::from(options.history_runs), max_tokens(options)).await?;
    let runs_left_out = left_out(&rows);
    Ok(Past { runs: into_runs(db, tenant, session_id, rows).await?, runs_left_out, ..Past::default() })
}

/// The past of a run that would begin now.
pub async fn past_of_next(
    db: &PgPool,
    scope: &Scope,
    session_id: &SessionId,
    options: &ContextOptions,
) -> Result<Past, sqlx::Error> {
    let rows = select_past!(
        "($9::text is null or s.user_id = $9)",
        scope.tenant_id(),
        session_id,
        options,
        i64::MAX,
        None,
        scope.user()
    );
    let mut connection = db.acquire().await?;
    let rows = rows.fetch_all(&mut *connection).await?;
    collect(&mut connection, scope.tenant_id(), session_id, rows).await
}

/// At most `runs` of the newest completed runs before the claimed one, oldest first, without the run `without`.
pub async fn history(db: &PgPool, claim: &Claim, without: Option<RunId>, runs: i64) -> Result<History, sqlx::Error> {
    let mut connection = db.acquire().await?;
    let replaced = replaced(&mut connection, claim, without).await?;
    let rows = newest(&mut connection, claim, replaced, runs, i32::MAX).await?;
    let runs = into_runs(&mut connection, &claim.tenant_id, &claim.session_id, rows).await?;
    let messages = runs.into_iter().flat_map(|run| run.messages.into_iter().map(move |message| (run.seq, message)));
    Ok(History::new(messages.collect()))
}

/// A run that is about to be replaced, and is in no part of the prompt.
#[derive(Clone, Copy)]
struct Replaced {
    seq: i64,
    /// The newest summary that does not cover it.
    summary_through: i64,
}

async fn replaced(db: &mut PgConnection, claim: &Claim, run: Option<RunId>) -> Result<Option<Replaced>, sqlx::Error> {
    let Some(run) = run else { return Ok(None) };
    sqlx::query_as!(
        Replaced,
        r#"
        select r.seq, (
            select coalesce(max(v.through_seq), 0) from summaries v
            where v.tenant_id = $1 and v.session_id = $2 and v.through_seq < r.seq
        ) as "summary_through!"
        from runs r
        where r.tenant_id = $1 and r.run_id = $3 and r.session_id = $2
        "#,
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        run as RunId,
    )
    .fetch_optional(db)
    .await
}

/// The newest completed runs before the claimed one that fit together, in no order.
async fn newest(
    db: &mut PgConnection,
    claim: &Claim,
    replaced: Option<Replaced>,
    runs: i64,
    max_tokens: i32,
) -> Result<Vec<RunRow>, sqlx::Error> {
    sqlx::query_as!(
        RunRow,
        r#"
        select newest.seq, newest.tokens, newest.found as "found!", r.input, r.message_id, r.created_at,
               newest.answer_index, newest.answer_id, newest.content, newest.reasoning,
               newest.answer_metrics as "answer_metrics: Json<MessageMetrics>", newest.provider_data,
               newest.answered_at
        from (
            select completed.*, count(*) over () as found,
                   sum(least(coalesce(completed.tokens, 0), $7))
                       over (order by completed.seq desc rows unbounded preceding) <= $7 as fits
            from (
                select o.seq, o.tokens, o.answer_index, o.answer_id, o.content, o.reasoning, o.answer_metrics,
                       o.provider_data, o.answered_at
                from outcomes o
                where o.tenant_id = $1 and o.session_id = $2 and o.seq < $3 and o.status = 'COMPLETED'
                  and o.seq is distinct from $5
                  and exists (
                      select from open_runs claimed
                      where claimed.tenant_id = $1 and claimed.session_id = $2 and claimed.seq = $3
                        and claimed.run_id = $4
                  )
                order by o.seq desc
                limit $6
            ) completed
        ) newest
        cross join lateral (
            select input, message_id, created_at
            from runs
            where runs.tenant_id = $1 and runs.session_id = $2 and runs.seq = newest.seq
            offset 0
        ) r
        where newest.fits
        "#,
        claim.tenant_id.as_str(),
        claim.session_id.as_str(),
        claim.seq,
        claim.run_id as RunId,
        replaced.map(|replaced| replaced.seq),
        runs,
        max_tokens,
    )
    .fetch_all(db)
    .await
}

fn left_out(rows: &[RunRow]) -> usize {
    let found = rows.first().map_or(0, |row| usize::try_from(row.found).unwrap_or_default());
    found.saturating_sub(rows.len())
}

async fn collect(
    db: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    rows: Vec<PastRow>,
) -> Result<Past, sqlx::Error> {
    let mut past = Past::default();
    let mut runs = Vec::with_capacity(rows.len());
    for mut row in rows {
        if let Some(text) = row.summary.take() {
            let topics = row.topics.take().unwrap_or_default();
            past.summary = Some(PastSummary { through_seq: row.summary_through, text, topics });
        }
        (past.unfolded_tokens, past.unfolded_runs) = (row.unfolded_tokens, row.unfolded_runs);
        runs.extend(row.into_run());
    }
    past.runs_left_out = left_out(&runs);
    past.runs = into_runs(db, tenant, session_id, runs).await?;
    Ok(past)
}

/// The runs with all their messages, oldest first.
async fn into_runs(
    db: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    mut rows: Vec<RunRow>,
) -> Result<Vec<PastRun>, sqlx::Error> {
    rows.sort_unstable_by_key(|row| row.seq);
    let seqs: Vec<i64> = rows.iter().filter(|row| row.may_have_steps()).map(|row| row.seq).collect();
    let mut steps = if seqs.is_empty() { HashMap::new() } else { steps(db, tenant, session_id, &seqs).await? };
    let runs = rows.into_iter().map(|row| {
        let (seq, tokens) = (row.seq, row.tokens.and_then(|tokens| usize::try_from(tokens).ok()));
        let messages = row.into_messages(steps.remove(&seq).unwrap_or_default());
        // Runs that were stored without a token count are counted now.
        let tokens = tokens.unwrap_or_else(|| tokens_of_messages(&messages));
        PastRun { seq, tokens, messages }
    });
    Ok(runs.filter(|run| !run.messages.is_empty()).collect())
}

async fn steps(
    db: &mut PgConnection,
    tenant: &TenantId,
    session_id: &SessionId,
    seqs: &[i64],
) -> Result<HashMap<i64, Vec<Message>>, sqlx::Error> {
    let rows = select_messages!(
        r"
        from run_steps m
        where m.tenant_id = $1 and m.session_id = $2 and m.seq = any($3)
        order by m.seq, m.index
        ",
        tenant.as_str(),
        session_id.as_str(),
        seqs,
    )
    .fetch_all(db)
    .await?;
    let mut steps: HashMap<i64, Vec<Message>> = HashMap::new();
    for row in rows {
        steps.entry(row.seq).or_default().push(row.into_message());
    }
    Ok(steps)
}
