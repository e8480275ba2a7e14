//! The schema of the queue's library, and the additions to it.

use anyhow::Context;
use graphile_worker::WorkerUtils;
use serde_json::Value;
use sqlx::{PgPool, types::Json};

use super::{USUAL_SCHEMA, add, sql};
use crate::database::{self, Namespace};

/// Migrates the queue's schema.
pub async fn migrate(db: &PgPool, namespace: &Namespace) -> anyhow::Result<()> {
    let utils = WorkerUtils::new(db, namespace.queue.as_str());
    utils.migrate().await.context("the schema of the job queue could not be brought up to date")?;
    index_shares(db, namespace).await.context("the job queue could not be indexed")?;
    if namespace.queue != USUAL_SCHEMA {
        take_over(db, namespace).await.context("the jobs that an older build left could not be taken over")?;
    }
    Ok(())
}

/// The lock serializes processes that start at the same time: with `if not exists` alone, two of them may try.
async fn index_shares(db: &PgPool, namespace: &Namespace) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(db).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('colloquy_jobs_by_share'))").execute(&mut *tx).await?;
    sqlx::query(sql(
        namespace,
        "
        create index if not exists colloquy_jobs_by_share on graphile_worker._private_jobs ((payload ->> 'share'))
            where is_available
        ",
    ))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Moves the jobs of this installation out of the queue that older builds shared between all schemas of a database.
async fn take_over(db: &PgPool, namespace: &Namespace) -> Result<(), sqlx::Error> {
    let is_there = "select to_regclass('graphile_worker._private_jobs') is not null";
    if !sqlx::query_scalar::<_, bool>(is_there).fetch_one(db).await? {
        return Ok(());
    }
    let mut tx = database::begin(db).await?;
    let jobs: Vec<Json<Value>> = sqlx::query_scalar(
        "
        delete from graphile_worker._private_jobs j
        where j.locked_at is null and j.attempts < j.max_attempts
          and (exists (select from sessions s where s.session_id = j.payload ->> 'session_id')
               or exists (select from runs r where r.run_id = (j.payload ->> 'run_id')::uuid)
               or exists (select from memory_turns t where t.user_id = j.payload ->> 'user_id'))
        returning j.payload
        ",
    )
    .fetch_all(&mut *tx)
    .await?;
    for Json(payload) in jobs {
        // An older build cannot have left a job that this build does not know.
        if let Ok(job) = serde_json::from_value(payload) {
            add(namespace, &mut tx, &job, None).await?;
        }
    }
    tx.commit().await
}
