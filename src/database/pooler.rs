//! Detects connection poolers such as PgBouncer by their behaviour.
//!
//! Session pooling (`pool_mode = session`) needs no special handling: a client keeps its server connection for as long
//! as it is connected. Transaction pooling (`pool_mode = transaction`) assigns a server connection per transaction and
//! keeps no session state: no settings, no LISTEN, no session locks, and a statement is prepared on whichever server
//! connection comes next. The pooler has to support prepared statements, as PgBouncer does since 1.21. Everything else
//! that needs a session goes over `database.direct_url`, or is done without.

use std::time::Duration;

use anyhow::{anyhow, bail};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgRow},
};

use super::namespace::quoted;
use crate::model::error::is_unavailable;

/// The `application_name` of connections in `pg_stat_activity`. [`is_pooled`] recognizes transaction pooling by it.
const NAME: &str = "colloquy";
const NAME_OF_POOLED: &str = "colloquy (pooled)";
/// Timeout of a probe: a pooler with one server connection makes the second client wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many clients are compared with the first one.
const OTHER_CLIENTS: usize = 3;
/// Prefix of the names that sqlx gives to prepared statements.
const NAMES_OF_STATEMENTS: &str = "sqlx_s_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Each client has its own server connection: no pooler, or session pooling.
    Session,
    /// Clients share server connections, one transaction at a time.
    Transaction,
}

impl Pooling {
    pub(super) fn name(self, options: PgConnectOptions) -> PgConnectOptions {
        options.application_name(if self == Self::Transaction { NAME_OF_POOLED } else { NAME })
    }
}

/// Whether this pool's connections go through a transaction pooler.
pub fn is_pooled(db: &PgPool) -> bool {
    db.connect_options().get_application_name() == Some(NAME_OF_POOLED)
}

/// Detects the mode by the server connections that several clients get. It is transaction pooling if another client gets
/// that of the first one, or if the first one gets different ones in turn.
///
/// A single other client is not enough: where others use the pooler too, such as a process that starts at the same time,
/// the first one's server connection may be busy just while the other client begins. So each further client holds a
/// server connection as well, until there is none left but the first one's.
pub(super) async fn pooling(one: &mut PgConnection, options: &PgConnectOptions) -> anyhow::Result<Pooling> {
    let first = server_of(one).await?;
    let mut others = Vec::new();
    let mut is_shared = false;
    while !is_shared && others.len() < OTHER_CLIENTS {
        let mut other = match PgConnection::connect_with(options).await {
            Ok(other) => other,
            // There may be no more connections than the one that was asked for first.
            Err(_) if !others.is_empty() => break,
            Err(error) => return Err(error.into()),
        };
        // A client that has to wait is waiting for another's server connection.
        let Ok(begun) = tokio::time::timeout(PATIENCE, sqlx::raw_sql("begin").execute(&mut other)).await else {
            is_shared = true;
            break;
        };
        if let Err(error) = begun {
            if is_unavailable(&error) && !error.to_string().contains("statement pooling") {
                return Err(error.into());
            }
            bail!("the pooler gives a server for each statement; set its pool_mode to transaction or session");
        }
        let held = tokio::time::timeout(PATIENCE, server_of(&mut other)).await.unwrap_or(Ok(first))?;
        is_shared = held == first || {
            let again = tokio::time::timeout(PATIENCE, server_of(one)).await;
            again.map_or(Ok(true), |again| again.map(|again| again != first))?
        };
        others.push(other);
    }
    for mut other in others {
        sqlx::raw_sql("rollback").execute(&mut other).await?;
        other.close().await?;
    }
    Ok(if is_shared { Pooling::Transaction } else { Pooling::Session })
}

async fn server_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Refuses a transaction pooler that passes prepared statements on unchanged: their names collide with those of other
/// clients.
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
    // A pooler that supports prepared statements renames them.
    let query =
        "select name from pg_prepared_statements where statement like 'select name from pg_prepared_statements%'";
    let found = sqlx::query(query).fetch_all(&mut connection).await;
    let names = |rows: Vec<PgRow>| rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>();
    let names = match found {
        Ok(rows) => names(rows)?,
        // Another client's statement has this name, or the statement no longer exists.
        Err(error) if error.as_database_error().is_some_and(AboutStatements::is_about_statements) => {
            return Err(refusal());
        }
        Err(error) => return Err(error.into()),
    };
    let is_carried = names.iter().any(|name| !name.starts_with(NAMES_OF_STATEMENTS));
    if !is_carried {
        // Deallocated, so that no other client collides with it.
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

/// A connection for statements that are planned anew on each execution. They are unnamed and sent in two steps
/// (prepare, execute). Behind a transaction pooler, only a transaction keeps both steps on the same server connection.
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

    /// Commits. Optional if there were only reads.
    pub async fn done(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Session(_) => Ok(()),
            Self::Transaction(transaction) => transaction.commit().await,
        }
    }
}
