//! Connects to the database at start.

use std::{error::Error, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, ensure};
use backon::{ExponentialBuilder, Retryable};
use sqlx::{
    AssertSqlSafe, Connection, PgPool,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};

use super::{
    embedded::{EmbeddedPostgres, Options},
    look,
    namespace::quoted,
    pooler::{self, Pooling},
    session,
};
use crate::{config::DatabaseSettings, model::error::is_unavailable};

pub(super) const EMBEDDED_DATABASE: &str = "colloquy";
/// Server connections beyond the pool's maximum: for psql, backups and a second process.
const SPARE_CONNECTIONS: u32 = 20;
/// Error texts of poolers: for a startup parameter, and for a database that they do not know.
const UNSUPPORTED: &str = "unsupported startup parameter";
const NO_SUCH_DATABASE: &str = "no such database";
/// A pooled connection that was idle for longer is pinged before use.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

pub(super) fn parse_url(setting: &str, url: &str) -> anyhow::Result<PgConnectOptions> {
    PgConnectOptions::from_str(url)
        .map_err(|error| anyhow!("{setting} cannot be read: {error}; give it as postgres://user:password@host/name"))
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

/// A server that answered, and how its connections are pooled.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) options: PgConnectOptions,
    pub(super) pooling: Pooling,
}

/// Connects with exponential backoff until the server answers, and checks it. Permanent errors are returned at once.
pub(super) async fn reach(
    options: PgConnectOptions,
    settings: &DatabaseSettings,
    setting: &str,
) -> anyhow::Result<Reached> {
    // Poolers refuse `extra_float_digits` as a startup parameter. It is set, or checked, after connecting.
    let options = options.extra_float_digits(None);
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(settings.connect_timeout))
        .without_max_times();
    let pooling = (async || look_at(&options).await)
        .retry(backoff)
        .when(|error: &anyhow::Error| error.downcast_ref().is_some_and(may_get_better))
        .notify(|error, delay| {
            tracing::warn!(%error, "The database does not answer yet; trying again in {} ms.", delay.as_millis());
        })
        .await
        .map_err(|error| explain(error, &options, setting))?;
    Ok(Reached { options: pooling.name(options), pooling })
}

async fn look_at(options: &PgConnectOptions) -> anyhow::Result<Pooling> {
    let mut connection = PgConnection::connect_with(options).await?;
    look::look(&mut connection).await?;
    let pooling = pooler::pooling(&mut connection, options).await?;
    if pooling == Pooling::Transaction {
        pooler::check_statements(options).await?;
    }
    connection.close().await?;
    Ok(pooling)
}

/// Opens a pool: the main one, or the direct one for work that needs a session. Session settings are applied to each
/// new connection; behind a transaction pooler they can only be checked.
pub(super) async fn open_pool(reached: &Reached, settings: &DatabaseSettings) -> anyhow::Result<PgPool> {
    let schema = settings.schema.as_deref();
    let mut pool = PgPoolOptions::new().max_connections(settings.max_connections);
    match reached.pooling {
        Pooling::Session => {
            let beginning: Arc<str> = session::beginning(schema).into();
            pool = pool.after_connect(move |connection, _| {
                let beginning = beginning.clone();
                Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(beginning)).execute(connection).await.map(drop) })
            });
        }
        Pooling::Transaction => {
            let mut connection = PgConnection::connect_with(&reached.options).await?;
            session::check(&mut connection, schema).await?;
            connection.close().await?;
        }
    }
    let pool = pool
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
        .connect_with(reached.options.clone())
        .await?;
    Ok(pool)
}

/// Opens the pool for work that needs a session (migrations, LISTEN, job queue), over `database.direct_url`.
pub(super) async fn open_direct(
    url: &str,
    indirect: &PgConnectOptions,
    settings: &DatabaseSettings,
) -> anyhow::Result<PgPool> {
    let reached = reach(parse_url("database.direct_url", url)?, settings, "database.direct_url").await?;
    ensure!(
        reached.pooling == Pooling::Session,
        "database.direct_url leads to a transaction pooler as well; give PostgreSQL's own address"
    );
    let mut direct = PgConnection::connect_with(&reached.options).await?;
    let mut other = PgConnection::connect_with(indirect).await?;
    ensure!(
        look::is_same(&mut direct, &mut other).await?,
        "database.direct_url does not lead to the same database as database.url; give both the same one"
    );
    direct.close().await?;
    other.close().await?;
    open_pool(&reached, settings).await
}

/// Creates the schema `database.schema` if it does not exist.
pub(super) async fn create_schema(connection: &mut PgConnection, schema: &str) -> anyhow::Result<()> {
    let exists =
        sqlx::query_scalar!(r#"select exists (select from pg_namespace where nspname = $1) as "exists!""#, schema)
            .fetch_one(&mut *connection)
            .await?;
    if exists {
        return Ok(());
    }
    let statement = format!("create schema if not exists {}", quoted(schema));
    sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(connection).await.with_context(|| {
        format!("database.schema \"{schema}\" is not there and cannot be made; let its owner run `{statement}`")
    })?;
    Ok(())
}

/// Whether a retry may succeed: the server is down, starting, or out of connections.
fn may_get_better(error: &sqlx::Error) -> bool {
    match error {
        _ if is_tls(error) => false,
        sqlx::Error::Database(database) => {
            is_unavailable(error)
                && ![UNSUPPORTED, NO_SUCH_DATABASE].iter().any(|text| database.message().contains(text))
        }
        _ => is_unavailable(error),
    }
}

/// Whether TLS failed, for example because the certificate is not believed.
fn is_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>),
        _ => false,
    }
}

/// Adds the cause and the remedy to a connection error, without the password.
fn explain(error: anyhow::Error, options: &PgConnectOptions, setting: &str) -> anyhow::Error {
    let Some(error) = error.downcast_ref::<sqlx::Error>() else { return error };
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let database = error.as_database_error();
    let message = database.map_or_else(|| error.to_string(), |error| error.message().to_owned());
    let remedy = match database.and_then(sqlx::error::DatabaseError::code).as_deref() {
        Some("28P01" | "28000") => "check the user name and the password in the URL".into(),
        Some("3D000") => missing(options),
        Some("53300") => "raise the server's max_connections, or stop a client".into(),
        _ if message.contains(NO_SUCH_DATABASE) => missing(options),
        _ if message.contains(UNSUPPORTED) => {
            "the pooler takes no such parameter: leave `options` out of the URL and name a \
             schema as database.schema, or let the pooler pass it (ignore_startup_parameters)"
                .into()
        }
        _ if is_tls(error) => "check sslmode and sslrootcert in the URL: sslmode=disable goes without TLS".into(),
        Some("42704" | "22023" | "42601") => "check `options` in the URL".into(),
        _ => format!(
            "check that PostgreSQL runs there and can be reached, or leave {setting} and DATABASE_URL out to use the \
             embedded PostgreSQL"
        ),
    };
    anyhow!("no connection to the database at {place} ({setting}): {message}; {remedy}")
}

fn missing(options: &PgConnectOptions) -> String {
    let name = options.get_database().unwrap_or("NAME");
    format!("create it (createdb {name}) or name another database in the URL")
}
