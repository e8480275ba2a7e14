//! Requirements for the database, checked once at start.

use anyhow::{bail, ensure};
use sqlx::{PgConnection, Row};

/// PostgreSQL 14.
const OLDEST_VERSION: i32 = 140_000;

/// Refuses a database that does not meet the requirements. The error contains the remedy.
pub(super) async fn look(connection: &mut PgConnection) -> anyhow::Result<()> {
    let query = "select current_setting('server_version_num')::int, current_setting('server_version'), \
                 current_setting('server_encoding'), current_database()::text, pg_is_in_recovery(), \
                 current_setting('transaction_read_only')::bool, current_setting('session_replication_role')";
    // Simple query protocol: a pooler may not support prepared statements.
    let row = sqlx::raw_sql(query).fetch_one(connection).await?;
    let (version, encoding): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let name: String = row.try_get(3)?;
    ensure!(row.try_get::<i32, _>(0)? >= OLDEST_VERSION, "the server is PostgreSQL {version}; use version 14 or later");
    ensure!(
        encoding == "UTF8",
        "the database \"{name}\" has the encoding {encoding} and cannot store every text; make one with \
         `create database NAME template template0 encoding 'UTF8'` and name it in the URL"
    );
    if row.try_get(4)? {
        bail!("the server is a read-only standby; give the URL of the primary");
    }
    ensure!(
        !row.try_get::<bool, _>(5)?,
        "the database \"{name}\" is read-only for this role; run `alter database … reset default_transaction_read_only`, \
         or the same with `alter role`"
    );
    let replication_role: String = row.try_get(6)?;
    ensure!(
        replication_role == "origin",
        "session_replication_role is {replication_role}, which switches triggers and foreign keys off; run \
         `alter database … reset session_replication_role`, or the same with `alter role`"
    );
    Ok(())
}

/// Whether two connections lead to the same database of the same server.
pub(super) async fn is_same(one: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let query =
        "select pg_postmaster_start_time()::text, (select oid from pg_database where datname = current_database())";
    let identity = async |connection: &mut PgConnection| {
        let row = sqlx::raw_sql(query).fetch_one(connection).await?;
        Ok::<(String, String), sqlx::Error>((row.try_get(0)?, row.try_get_unchecked(1)?))
    };
    Ok(identity(one).await? == identity(other).await?)
}
