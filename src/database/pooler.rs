//! Connection poolers such as PgBouncer, told by what they do.
//!
//! One that gives each client a server for as long as it is connected (`pool_mode = session`) needs no care. One that
//! gives it a server for a transaction (`pool_mode = transaction`) keeps nothing of a session: no setting, no LISTEN, no
//! lock, and a statement is prepared on whichever server comes next. It has to carry prepared statements along, as
//! PgBouncer does since 1.21; whatever else needs a session goes over `database.direct_url`, or is done without.

use std::time::Duration;

use anyhow::{anyhow, bail};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgRow},
};

use super::{is_unavailable, namespace::quoted};

/// How the connections of a pool are called in `pg_stat_activity`, and how those are told apart that share servers.
const NAME: &str = "colloquy";
const NAME_OF_POOLED: &str = "colloquy (pooled)";
/// A pool that has one server makes a second client wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// How the library calls the statements that it prepares.
const NAMES_OF_STATEMENTS: &str = "sqlx_s_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// A client has a server to itself: there is no pooler, or one that pools sessions.
    Session,
    /// Clients take turns.
    Transaction,
}

impl Pooling {
    pub(super) fn name(self, options: PgConnectOptions) -> PgConnectOptions {
        options.application_name(if self == Self::Transaction { NAME_OF_POOLED } else { NAME })
    }
}

/// Whether the connections of this pool share servers, transaction by transaction.
pub fn is_pooled(db: &PgPool) -> bool {
    db.connect_options().get_application_name() == Some(NAME_OF_POOLED)
}

/// Tells by two clients: if one is given the server of the other, or one server after the other, they share.
pub(super) async fn pooling(one: &mut PgConnection, options: &PgConnectOptions) -> anyhow::Result<Pooling> {
    let mut other = PgConnection::connect_with(options).await?;
    let first = server_of(one).await?;
    if let Err(error) = sqlx::raw_sql("begin").execute(&mut other).await {
        if is_unavailable(&error) && !error.to_string().contains("statement pooling") {
            return Err(error.into());
        }
        bail!("the pooler gives a server for each statement; set its pool_mode to transaction or session");
    }
    // One that has to wait waits for the server of the other.
    let held = tokio::time::timeout(PATIENCE, server_of(&mut other)).await.unwrap_or(Ok(first))?;
    let is_shared = held == first || {
        let again = tokio::time::timeout(PATIENCE, server_of(one)).await;
        again.map_or(Ok(true), |again| again.map(|again| again != first))?
    };
    sqlx::raw_sql("rollback").execute(&mut other).await?;
    other.close().await?;
    Ok(if is_shared { Pooling::Transaction } else { Pooling::Session })
}

async fn server_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Refuses a transaction pooler that hands prepared statements on as they are: they meet those of other clients.
pub(super) async fn check_statements(options: &PgConnectOptions) -> anyhow::Result<()> {
    let refusal = || {
        anyhow!(
            "the pooler gives a server for each transaction (pool_mode = transaction) and does not carry prepared statements \
             along; use PgBouncer 1.21 or later with max_prepared_statements above 0, or pool_mode = session, or give \
             PostgreSQL's own address"
        )
    };
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::raw_sql("begin").execute(&mut connection).await?;
    // A pooler that carries them along gives them names of its own.
    let query =
        "select name from pg_prepared_statements where statement like 'select name from pg_prepared_statements%'";
    let found = sqlx::query(query).fetch_all(&mut connection).await;
    let names = |rows: Vec<PgRow>| rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>();
    let names = match found {
        Ok(rows) => names(rows)?,
        // There is one of this name, of another client, or none any more.
        Err(error) if error.as_database_error().is_some_and(AboutStatements::is_about_statements) => {
            return Err(refusal());
        }
        Err(error) => return Err(error.into()),
    };
    let is_carried = names.iter().any(|name| !name.starts_with(NAMES_OF_STATEMENTS));
    if !is_carried {
        // Nobody else should meet it.
        for name in &names {
            let forget = format!("deallocate {}", quoted(name));
            sqlx::raw_sql(AssertSqlSafe(forget)).execute(&mut connection).await?;
        }
    }
    sqlx::raw_sql("rollback").execute(&mut connection).await?;
    connection.close().await?;
    if is_carried { Ok(()) } else { Err(refusal()) }
}

trait AboutStatements {
    fn is_about_statements(&self) -> bool;
}

impl AboutStatements for dyn sqlx::error::DatabaseError {
    /// `duplicate_prepared_statement`, or `invalid_sql_statement_name`.
    fn is_about_statements(&self) -> bool {
        matches!(self.code().as_deref(), Some("42P05" | "26000"))
    }
}

/// A connection for statements that are planned anew each time. They have no name, and so are said in two parts that only
/// a transaction keeps together where clients share servers.
#[derive(Debug)]
pub enum Planning {
    Session(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

impl Planning {
    pub async fn of(db: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(if is_pooled(db) { Self::Transaction(super::begin(db).await?) } else { Self::Session(db.acquire().await?) })
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Session(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }

    /// Keeps what was changed. Who has only read may leave it out.
    pub async fn done(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Session(_) => Ok(()),
            Self::Transaction(transaction) => transaction.commit().await,
        }
    }
}
