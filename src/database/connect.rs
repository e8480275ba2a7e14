//! Reaching the database at start.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, anyhow};
use backon::{ExponentialBuilder, Retryable};
use sqlx::{
    Connection, PgPool,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};

use super::{
    embedded::{EmbeddedPostgres, Options},
    is_unavailable,
};
use crate::config::DatabaseSettings;

pub(super) const EMBEDDED_DATABASE: &str = "colloquy";
/// Beyond the pool's own: for psql, backups and a second process.
const SPARE_CONNECTIONS: u32 = 20;
/// A connection that was idle for longer is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

pub(super) fn parse_url(url: &str) -> anyhow::Result<PgConnectOptions> {
    PgConnectOptions::from_str(url).map_err(|error| {
        anyhow!("database.url (or DATABASE_URL) cannot be read: {error}; give it as postgres://user:password@host/name")
    })
}

pub(super) fn embedded_options(settings: &DatabaseSettings) -> Options {
    Options {
        dir: settings.data_dir.clone(),
        durable: true,
        max_connections: settings.max_connections + SPARE_CONNECTIONS,
    }
}

pub(super) async fn start_embedded(options: Options) -> anyhow::Result<EmbeddedPostgres> {
    let server = tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&options)).await?.context(
        "the embedded PostgreSQL did not start (--data-dir chooses another directory, DATABASE_URL a server)",
    )?;
    create_database(&server).await.context("the embedded PostgreSQL has started but does not answer")?;
    Ok(server)
}

async fn create_database(server: &EmbeddedPostgres) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&server.connect_options("postgres")).await?;
    let exists = sqlx::query_scalar!(
        r#"select exists (select from pg_database where datname = $1) as "exists!""#,
        EMBEDDED_DATABASE
    )
    .fetch_one(&mut connection)
    .await?;
    if !exists {
        sqlx::raw_sql("create database colloquy").execute(&mut connection).await?;
    }
    connection.close().await
}

pub(super) async fn open_pool(options: PgConnectOptions, settings: &DatabaseSettings) -> anyhow::Result<PgPool> {
    let options = options.application_name("colloquy");
    wait_until_up(&options, settings.connect_timeout).await?;
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    return Ok(connection.ping().await.is_ok());
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await?;
    Ok(pool)
}

async fn wait_until_up(options: &PgConnectOptions, patience: Duration) -> anyhow::Result<()> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(patience))
        .without_max_times();
    let connect = || async { PgConnection::connect_with(options).await?.close().await };
    connect
        .retry(backoff)
        .when(is_unavailable)
        .notify(|error, delay| {
            tracing::warn!(%error, "The database does not answer yet; trying again in {} ms.", delay.as_millis());
        })
        .await
        .map_err(|error| explain(&error, options))
}

/// What is wrong and what to do, without the password.
fn explain(error: &sqlx::Error, options: &PgConnectOptions) -> anyhow::Error {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let remedy = match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
        Some("28P01" | "28000") => "check the user name and the password in the URL".into(),
        Some("3D000") => format!(
            "create it (createdb {}) or name another database in the URL",
            options.get_database().unwrap_or("NAME")
        ),
        Some("53300") => "raise the server's max_connections, or stop a client".into(),
        _ => "check that PostgreSQL runs there and can be reached, or leave database.url and DATABASE_URL \
              out to use the embedded PostgreSQL"
            .into(),
    };
    let reason = error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    anyhow!("no connection to the database at {place}: {reason}; {remedy}")
}
