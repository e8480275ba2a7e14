//! What stands in the queue. The tables are the library's, so the macros cannot check these statements.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::{
    Job,
    model::{JobStatus, JobView},
    queue::sql,
};
use crate::app::App;

#[derive(sqlx::FromRow)]
struct JobRow {
    id: i64,
    payload: Json<serde_json::Value>,
    attempts: i16,
    max_attempts: i16,
    last_error: Option<String>,
    is_running: bool,
    run_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

/// The jobs with this status, the newest first, below the id `before` if given.
pub(super) async fn list(
    app: &App,
    status: Option<JobStatus>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<JobView>, sqlx::Error> {
    let rows: Vec<JobRow> = sqlx::query_as(sql(
        &app.namespace,
        r"
        select id, payload, attempts, max_attempts, last_error, locked_at is not null as is_running, run_at, created_at
        from graphile_worker._private_jobs j
        where ($1::bigint is null or id < $1)
          -- What another job has taken the place of is no work any more.
          and (locked_at is not null
               or not exists (select from graphile_worker._private_job_retirements r where r.id = j.id))
          and case $2
                  when 'waiting' then locked_at is null and attempts < max_attempts
                  when 'running' then locked_at is not null
                  when 'failed' then locked_at is null and attempts >= max_attempts
                  else true
              end
        order by id desc
        limit $3
        ",
    ))
    .bind(before)
    .bind(status.map(JobStatus::as_str))
    .bind(limit)
    .fetch_all(&app.db)
    .await?;
    Ok(rows.into_iter().map(JobRow::into_view).collect())
}

/// Gives a job that is not running all its attempts again, from now on. `None`: there is none.
pub(super) async fn retry(app: &App, id: i64) -> Result<Option<JobView>, sqlx::Error> {
    let row: Option<JobRow> = sqlx::query_as(sql(
        &app.namespace,
        r"
        select id, payload, attempts, max_attempts, last_error, locked_at is not null as is_running, run_at, created_at
        from graphile_worker.reschedule_jobs(array[$1], run_at => now(), attempts => 0)
        ",
    ))
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
        let job = serde_json::from_value::<Job>(self.payload.0.clone());
        JobView {
            job_id: self.id,
            kind: self.payload.0["kind"].as_str().unwrap_or("unknown").to_owned(),
            about: job.map(|job| job.about()).unwrap_or_default(),
            status,
            attempts: self.attempts,
            max_attempts: self.max_attempts,
            last_error: self.last_error,
            run_at: self.run_at,
            created_at: self.created_at,
        }
    }
}
