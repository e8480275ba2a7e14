//! `/jobs`: background work, for operators.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    model::{JobList, JobStatus, JobView},
    store,
};
use crate::{
    app::App,
    http::{
        Path, Problem, Query,
        paging::PageRequest,
        refusals::{NotThere, ParametersRefused, Unavailable},
    },
    memories::extraction,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListJobsQuery {
    /// All if left out.
    #[param(inline)]
    status: Option<JobStatus>,
    /// Only jobs older than this id: `next_before` of the page before.
    before: Option<i64>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Lists background work that is waiting, running, or has failed for good; what is done is not kept.
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
    Query(query): Query<ListJobsQuery>,
) -> Result<Json<JobList>, Problem> {
    let limit = PageRequest::new(None, query.limit)?.limit();
    if query.before.is_none() {
        // Whoever waits for the list to be empty after a run finds its job there, which is queued beside the answer.
        extraction::sweep(&app).await?;
    }
    // One more than asked for tells whether there is another page.
    let mut data = store::list(&app, query.status, query.before, limit + 1).await?;
    let has_more = data.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if has_more {
        data.pop();
    }
    let next_before = data.last().filter(|_| has_more).map(|job| job.job_id);
    Ok(Json(JobList { data, next_before }))
}

/// Gives a job all its attempts again, beginning now. One that is running is left alone.
#[utoipa::path(
    post,
    path = "/jobs/{job_id}/retry",
    tag = "Service",
    operation_id = "retry_job",
    params(("job_id" = i64, Path)),
    responses((status = 200, body = JobView), NotThere, Unavailable)
)]
pub async fn retry_job(State(app): State<Arc<App>>, Path(job_id): Path<i64>) -> Result<Json<JobView>, Problem> {
    store::retry(&app, job_id).await?.map(Json).ok_or_else(|| {
        Problem::not_found(format!(
            "There is no job {job_id} that could be retried: it is done, or running; GET /jobs lists those that there are"
        ))
    })
}
