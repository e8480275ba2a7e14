//! `/jobs`: background work, for operators.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::{
        Path, Problem, Query,
        refusals::{NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    jobs::{
        model::{JobList, JobStatus, JobView},
        store,
    },
    memories::extraction,
    model::{Caller, paging::PageRequest},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListJobsQuery {
    /// Default: all.
    #[param(inline)]
    status: Option<JobStatus>,
    /// Only jobs with a lower id: the `next_before` of the previous page.
    before: Option<i64>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Lists background jobs that are waiting, running or permanently failed, newest first. Completed jobs are not kept.
#[utoipa::path(
    get,
    path = "/jobs",
    tag = "Service",
    operation_id = "list_jobs",
    params(ListJobsQuery),
    responses((status = 200, body = JobList), ParametersRefused, Unavailable)
)]
pub async fn list_jobs(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ListJobsQuery>,
) -> Result<Json<JobList>, Problem> {
    let limit = PageRequest::new(None, query.limit)?.limit();
    if query.before.is_none() {
        // Jobs are queued concurrently with the answer of a run. The sweep queues the missing ones, so a client that
        // polls after a run until the list is empty sees the run's job.
        extraction::sweep(&app).await?;
    }
    // Fetch one row more than requested, to know whether there is another page.
    let mut data = store::list(&app, caller.tenant(), query.status, query.before, limit + 1).await?;
    let has_more = data.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if has_more {
        data.pop();
    }
    let next_before = data.last().filter(|_| has_more).map(|job| job.job_id);
    Ok(Json(JobList { data, next_before }))
}

/// Resets a job's attempts and makes it due now. A running job is left alone.
#[utoipa::path(
    post,
    path = "/jobs/{job_id}/retry",
    tag = "Service",
    operation_id = "retry_job",
    params(("job_id" = i64, Path)),
    responses((status = 200, body = JobView), NotThere, Unavailable)
)]
pub async fn retry_job(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(job_id): Path<i64>,
) -> Result<Json<JobView>, Problem> {
    store::retry(&app, caller.tenant(), job_id).await?.map(Json).ok_or_else(|| {
        Problem::not_found(format!(
            "There is no job {job_id} that could be retried: it is done, or running; GET /jobs lists those that there are"
        ))
    })
}
