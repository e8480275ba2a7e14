//! The connection pool, the migrations, and the embedded PostgreSQL for those who named no database.
//!
//! *Architecture Invariant:* no connection is held while a model thinks. Nothing outside this room knows whether the
//! database is embedded.

mod connect;
pub mod embedded;
mod look;
mod migrating;
mod namespace;
mod pooler;
mod session;
mod supervisor;

use std::time::Duration;

use anyhow::ensure;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction, postgres::types::PgInterval};

use crate::config::DatabaseSettings;
use pooler::Pooling;
use supervisor::Supervisor;

pub use migrating::{is_migrated, migrate};
pub use namespace::{Namespace, check_schema, quoted};
pub use pooler::{Planning, is_pooled};

/// The pools of an open database.
#[derive(Clone, Debug)]
pub struct Pools {
    pub pool: PgPool,
    /// For what needs a session of its own: migrations, LISTEN, the queue's workers. Without `database.direct_url` the same.
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
    /// Connects to the database of the settings, or starts the embedded one; waits while it is still coming up.
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

    /// Brings the schema up to date. Processes that start together wait for each other on an advisory lock.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        migrate(&self.pools.direct).await
    }

    /// Whether no other process can serve on this database.
    pub fn is_private(&self) -> bool {
        self.embedded.is_some()
    }

    /// Closes all connections, then stops the embedded server.
    pub async fn close(self) {
        self.pools.direct.close().await;
        self.pools.pool.close().await;
        if let Some(supervisor) = self.embedded {
            // It logs for itself when something goes wrong.
            drop(tokio::task::spawn_blocking(|| supervisor.stop()).await);
        }
    }
}

/// Begins a transaction; never by `PgPool::begin`, for a future that is dropped in the middle of it (a client that goes away
/// is enough) gives its connection back to the pool with a transaction that nobody ends: it keeps its locks, and what
/// others write over it is never committed. A task of its own is not dropped.
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

/// Whether the same statement may succeed later: the database is away, starting, stopping, or out of connections.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        // Protocol: the stream ended inside a message, because the server went away.
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        _ => false,
    }
}

/// A time so long ago, or so far ahead, is before, or after, everything that PostgreSQL can tell.
const LONGEST: Duration = Duration::from_hours(5_000 * 366 * 24);

/// A span of time for `now() - $1`.
pub fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
