//! The jobs in the queue, and when scheduled jobs were last enqueued. The queue's tables are the library's, so the
//! macros cannot check the statements on them.

pub(super) mod users;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};

use super::{
    Job,
    model::{JobStatus, JobView},
    queue::sql,
};
use crate::{app::App, database::interval, model::TenantId};

#[derive(sqlx::FromRow)]
struct JobRow {
    id: i64,
    payload: Json<Value>,
    attempts: i16,
    max_attempts: i16,
    last_error: Option<String>,
    is_running: bool,
    run_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

/// The tenant's jobs with this status and those that belong to no tenant, newest first; only those below the id
/// `before`, if given.
pub async fn list(
    app: &App,
    tenant: &TenantId,
    status: Option<JobStatus>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<JobView>, sqlx::Error> {
    let rows: Vec<JobRow> = sqlx::query_as(sql(
        &app.namespace,
        r"
        select id, payload, attempts, max_attempts, last_error, locked_at is not null as is_running, run_at, created_at
        from graphile_worker._private_jobs j
        where coalesce(payload ->> 'tenant_id' = $1, true)
          and ($2::bigint is null or id < $2)
          -- A job that was replaced is no longer work, unless it is still running.
          and (locked_at is not null
               or not exists (select from graphile_worker._private_job_retirements r where r.id = j.id))
          and case $3
                  when 'waiting' then locked_at is null and attempts < max_attempts
                  when 'running' then locked_at is not null
                  when 'failed' then locked_at is null and attempts >= max_attempts
                  else true
              end
        order by id desc
        limit $4
        ",
    ))
    .bind(tenant.as_str())
    .bind(before)
    .bind(status.map(JobStatus::as_str))
    .bind(limit)
    .fetch_all(&app.db)
    .await?;
    Ok(rows.into_iter().map(JobRow::into_view).collect())
}

/// Gives a job that is not running all its attempts again. It is due now, and goes before all others. `None` if there
/// is no such job.
pub async fn retry(app: &App, tenant: &TenantId, id: i64) -> Result<Option<JobView>, sqlx::Error> {
    let row: Option<JobRow> = sqlx::query_as(sql(
        &app.namespace,
        r"
        select id, payload, attempts, max_attempts, last_error, locked_at is not null as is_running, run_at, created_at
        from graphile_worker.reschedule_jobs(
            array(
                select id from graphile_worker._private_jobs
                where id = $2 and coalesce(payload ->> 'tenant_id' = $1, true)
            ),
            run_at => now(), attempts => 0, priority => -1
        )
        ",
    ))
    .bind(tenant.as_str())
    .bind(id)
    .fetch_optional(&app.db)
    .await?;
    Ok(row.map(JobRow::into_view))
}

impl JobRow {
    fn into_view(self) -> JobView {
        let status = match (self.is_running, self.attempts >= self.max_attempts) {
            (true, _) => JobStatus::Running,
            (false, true) => JobStatus::Failed,
            (false, false) => JobStatus::Waiting,
        };
        // Without parsing the job: it may come from a newer build.
        let field = |name: &str| self.payload.0.get(name).and_then(Value::as_str).map(str::to_owned);
        JobView {
            job_id: self.id,
            kind: field("kind").unwrap_or_else(|| "unknown".into()),
            about: ["run_id", "session_id", "user_id"].into_iter().find_map(field).unwrap_or_default(),
            status,
            attempts: self.attempts,
            max_attempts: self.max_attempts,
            last_error: self.last_error.map(|error| in_plain_words(&error)),
            run_at: self.run_at,
            created_at: self.created_at,
        }
    }
}

/// Undoes Rust's `Debug` format, in which the library stores an error, such as `TaskError("It said \"no\"")`.
fn in_plain_words(stored: &str) -> String {
    let quoted = stored.split_once("(\"").and_then(|(name, rest)| {
        let is_name = !name.is_empty() && name.chars().all(char::is_alphanumeric);
        rest.strip_suffix("\")").filter(|_| is_name)
    });
    let Some(quoted) = quoted else { return stored.to_owned() };
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        match if c == '\\' {
            rest.next()
        } else {
            text.push(c);
            continue;
        } {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('0') => text.push('\u{fffd}'),
            Some('u') => {
                let code: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                text.push(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
            }
            escaped => text.extend(escaped),
        }
    }
    text
}

/// Records that a scheduled job is enqueued now. `false` if the last time was less than `every` ago. A last time in the
/// future is ignored: the clock was wrong then, or has been corrected since.
pub(super) async fn note_queued(
    connection: &mut PgConnection,
    job: &Job,
    every: Duration,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "
        insert into schedule (job, queued_at)
        select $1, now()
        where not exists (
            select from schedule where job = $1 and queued_at > now() - $2::interval and queued_at <= now()
        )
        on conflict (job) do update set queued_at = excluded.queued_at
        where schedule.queued_at <= excluded.queued_at - $2::interval or schedule.queued_at > excluded.queued_at
        ",
        job.key(),
        interval(every),
    )
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_without_the_marks_of_the_code() {
        for error in ["It said \"no\".", "two\nlines\tand \u{1b} more", "C:\\new", "", "TaskError", "(\"x\")"] {
            assert_eq!(in_plain_words(&format!("TaskError({error:?})")), error);
            assert_eq!(in_plain_words(error), error);
        }
    }
}
