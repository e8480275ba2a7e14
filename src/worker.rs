//! Dispatches each job to its room. The only file that knows all jobs.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use crate::{
    app::App,
    events, idempotency,
    jobs::{self, Job},
    memories, search, sessions, summaries,
    usage::ask::Breakers,
    webhooks,
};

/// Starts the workers of this process.
pub fn spawn(app: &Arc<App>) {
    jobs::spawn_workers(app, dispatch);
}

/// Executes all jobs that are due, and returns. For tests, which drive background work by hand.
pub async fn run_due(app: &Arc<App>) -> anyhow::Result<()> {
    memories::extraction::sweep(app).await?;
    jobs::run_due(app, dispatch).await
}

fn dispatch(app: Arc<App>, job: Job, is_asked_for: bool) -> BoxFuture<'static, anyhow::Result<()>> {
    if is_asked_for {
        // A job that somebody has retried tries its model even if the circuit breaker is open.
        Breakers::of(&app).allow_a_try();
    }
    async move { run(&app, job).await }.boxed()
}

async fn run(app: &Arc<App>, job: Job) -> anyhow::Result<()> {
    match job {
        Job::CleanUp => {
            // A failure of one does not prevent the others.
            let done = [
                events::clean_up(app).await,
                idempotency::sweep(app).await.map(drop),
                search::vectors::sweep(app).await.map_err(Into::into),
                memories::extraction::sweep(app).await.map_err(Into::into),
                memories::service::sweep(app).await.map_err(Into::into),
                sessions::retention::sweep(app).await.map(drop),
            ];
            done.into_iter().collect()
        }
        Job::TidyQueue => jobs::tidy(app).await,
        Job::DeliverWebhook { tenant_id, run_id } => webhooks::deliver(app, &tenant_id, run_id).await,
        Job::FoldSession { tenant_id, session_id, agent_id } => {
            summaries::fold_session(app, &tenant_id, &session_id, &agent_id).await
        }
        Job::TitleSession { tenant_id, session_id, agent_id } => {
            summaries::title::title_session(app, &tenant_id, &session_id, &agent_id).await
        }
        Job::Learn { tenant_id, user_id } => memories::extraction::learn(app, &tenant_id, &user_id).await,
        Job::LearnAgain { tenant_id, user_id } => {
            Ok(memories::extraction::learn_again(app, &tenant_id, &user_id).await?)
        }
        Job::EmbedNew => search::vectors::embed_new(app).await,
    }
}
