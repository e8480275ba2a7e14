//! The schema of the queue's library, and the additions to it.

use anyhow::Context;
use graphile_worker::WorkerUtils;
use sqlx::PgPool;

use super::sql;
use crate::database::{self, Namespace};

/// Migrates the queue's schema.
pub async fn migrate(db: &PgPool, namespace: &Namespace) -> anyhow::Result<()> {
    let utils = WorkerUtils::new(db, namespace.queue.as_str());
    utils.migrate().await.context("the schema of the job queue could not be brought up to date")?;
    index_shares(db, namespace).await.context("the job queue could not be indexed")
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
