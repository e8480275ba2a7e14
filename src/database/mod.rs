//! The connection pool, the migrations, and the embedded PostgreSQL for those who named no database.
//!
//! *Architecture Invariant:* no connection is held while a model thinks. Nothing outside this room knows whether the
//! database is embedded.

mod connect;
pub mod embedded;
mod supervisor;

use anyhow::{Context, ensure};
use sqlx::{PgPool, migrate::Migrator};

use crate::{config::DatabaseSettings, jobs};
use supervisor::Supervisor;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// An open database. Dropping it stops the embedded server, if there is one.
#[derive(Debug)]
pub struct Database {
    pub pool: PgPool,
    embedded: Option<Supervisor>,
}

impl Database {
    /// Connects to the database of the settings, or starts the embedded one; waits while it is still coming up.
    pub async fn open(settings: &DatabaseSettings) -> anyhow::Result<Self> {
        let (options, embedded) = if let Some(url) = &settings.url {
            (connect::parse_url(url)?, None)
        } else {
            let options = connect::embedded_options(settings);
            let server = connect::start_embedded(options.clone()).await?;
            let connect_options = server.connect_options(connect::EMBEDDED_DATABASE);
            (connect_options, Some(Supervisor::watch(server, options)?))
        };
        let pool = connect::open_pool(options, settings).await?;
        Ok(Self { pool, embedded })
    }

    /// Brings the schema up to date. Processes that start together wait for each other on an advisory lock.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        migrate(&self.pool).await
    }

    /// Whether no other process can serve on this database.
    pub fn is_private(&self) -> bool {
        self.embedded.is_some()
    }

    /// Closes all connections, then stops the embedded server.
    pub async fn close(self) {
        self.pool.close().await;
        if let Some(supervisor) = self.embedded {
            // It logs for itself when something goes wrong.
            drop(tokio::task::spawn_blocking(|| supervisor.stop()).await);
        }
    }
}

/// Brings the schema of Colloquy and that of its job queue up to date.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    MIGRATIONS.run(pool).await.context(
        "the database schema could not be brought up to date; \
         if a newer Colloquy has migrated it, run that version, otherwise see the reason",
    )?;
    jobs::migrate(pool).await
}

/// Whether this build's migrations have all been applied, for `/ready`.
pub async fn is_migrated(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
    // The migrator's own table, which is not there when the macros check their statements.
    let applied: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success").fetch_one(pool).await?;
    Ok(applied >= newest)
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
