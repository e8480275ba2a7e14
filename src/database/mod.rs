//! Connection pools, migrations, and the embedded PostgreSQL for installations without a configured database.
//!
//! *Architecture Invariant:* no connection is held during a model call. Nothing outside this room knows whether the
//! database is embedded.

mod connect;
pub mod embedded;
mod lanes;
mod look;
mod migrating;
mod namespace;
mod pooler;
mod session;
mod supervisor;
mod tenants;

use std::time::Duration;

use anyhow::ensure;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction, postgres::types::PgInterval};

use self::{pooler::Pooling, supervisor::Supervisor};
use crate::config::DatabaseSettings;

pub use self::lanes::Lanes;
pub use self::migrating::{is_migrated, migrate};
pub use self::namespace::{Namespace, quoted};
pub use self::pooler::{Planning, is_pooled};
pub(crate) use self::tenants::tenants_with;

/// The pools of an open database.
#[derive(Clone, Debug)]
pub struct Pools {
    pub pool: PgPool,
    /// For work that needs a session: migrations, LISTEN, the queue's workers. Equals `pool` without
    /// `database.direct_url`.
    pub direct: PgPool,
}

impl From<PgPool> for Pools {
    fn from(pool: PgPool) -> Self {
        Self { direct: pool.clone(), pool }
    }
}

/// An open database. Dropping it stops the embedded server, if there is one.
#[derive(Debug)]
pub struct Database {
    pub pools: Pools,
    embedded: Option<Supervisor>,
}

impl Database {
    /// Connects to the configured database, or starts the embedded one. Retries while the server is starting.
    pub async fn open(settings: &DatabaseSettings) -> anyhow::Result<Self> {
        const SETTING: &str = "database.url";
        let (options, embedded) = if let Some(url) = &settings.url {
            (connect::parse_url("database.url (or DATABASE_URL)", url)?, None)
        } else {
            let options = connect::embedded_options(settings);
            let server = connect::start_embedded(options.clone()).await?;
            let connect_options = server.connect_options(connect::EMBEDDED_DATABASE);
            (connect_options, Some(Supervisor::watch(server, options)?))
        };
        let reached = connect::reach(options, settings, SETTING).await?;
        let direct = match &settings.direct_url {
            Some(url) => Some(connect::open_direct(url, &reached.options, settings).await?),
            None => None,
        };
        if let Some(schema) = &settings.schema {
            let options =
                direct.as_ref().map_or_else(|| reached.options.clone(), |pool| (*pool.connect_options()).clone());
            let mut connection = PgConnection::connect_with(&options).await?;
            connect::create_schema(&mut connection, schema).await?;
            connection.close().await?;
        }
        if reached.pooling == Pooling::Transaction && direct.is_none() {
            tracing::warn!(
                "The database is behind a transaction pooler and database.direct_url is not set: other processes cannot be \
                 heard, so some things take effect a little later."
            );
        }
        let pool = connect::open_pool(&reached, settings).await?;
        let direct = direct.unwrap_or_else(|| pool.clone());
        Ok(Self { pools: Pools { pool, direct }, embedded })
    }

    /// Whether this process is the only one on this database.
    pub fn is_private(&self) -> bool {
        self.embedded.is_some()
    }

    /// Closes all connections, then stops the embedded server.
    pub async fn close(self) {
        self.pools.direct.close().await;
        self.pools.pool.close().await;
        if let Some(supervisor) = self.embedded {
            // `stop` logs its own failures.
            drop(tokio::task::spawn_blocking(|| supervisor.stop()).await);
        }
    }
}

/// Begins a transaction. Replaces `PgPool::begin`, which is not cancel-safe: if its future is dropped midway (a client
/// that disconnects is enough), the connection returns to the pool with an open transaction. That transaction keeps its
/// locks, and later writes on the connection are never committed. Here `begin` runs in its own task, which is not
/// dropped.
#[expect(clippy::disallowed_methods, reason = "one statement, of which nothing is left")]
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin().await });
    begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

/// Refuses a text search configuration that this database does not have.
pub async fn check_text_config(pool: &PgPool, name: &str) -> anyhow::Result<()> {
    let is_known = sqlx::query_scalar!(
        r#"select exists (select from pg_ts_config where cfgname = $1 and pg_ts_config_is_visible(oid)) as "known!""#,
        name,
    )
    .fetch_one(pool)
    .await?;
    ensure!(
        is_known,
        "search.text_config \"{name}\" is no text search configuration of this PostgreSQL; use simple, which fits every \
         language, or one that `select cfgname from pg_ts_config` shows, such as english"
    );
    Ok(())
}

/// Longer spans are capped, so that `now() - $1` stays within PostgreSQL's timestamps, which begin in 4713 BC.
const LONGEST: Duration = Duration::from_hours(5_000 * 366 * 24);

/// A duration as an SQL interval, for `now() - $1`.
pub fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
