//! Schema migrations.

use std::sync::LazyLock;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection, PgPool, Row, migrate::Migrator};

use super::{Namespace, is_pooled};

/// sqlx's own lock is switched off: it is a session-level advisory lock, which a transaction pooler does not keep.
/// [`migrate`] takes a transaction-level lock instead.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!();
    migrations.set_locking(false);
    migrations
});

/// Applies pending migrations, then runs `then`, under one advisory lock: processes that start together wait for each
/// other.
pub async fn migrate(
    pool: &PgPool,
    then: impl AsyncFnOnce(&PgPool, &Namespace) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let namespace = Namespace::of(pool).await?;
    let mut lock = super::begin(pool).await?;
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0").execute(&mut *lock).await?;
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('colloquy migrations ' || $1, 0))", namespace.schema)
        .execute(&mut *lock)
        .await?;
    // Detached, and not returned to the pool: `find_trigrams` may change its `search_path`.
    let mut connection = pool.acquire().await?.detach();
    find_trigrams(pool, &mut connection).await?;
    MIGRATIONS.run(&mut connection).await.context(
        "the database schema could not be brought up to date; \
         if a newer Colloquy has migrated it, run that version, otherwise see the reason",
    )?;
    connection.close().await?;
    then(pool, &namespace).await?;
    Ok(lock.commit().await?)
}

/// Ensures that the extension `pg_trgm` exists and is in the connection's `search_path`. A database has only one copy
/// of an extension, which all installations in the database share.
async fn find_trigrams(pool: &PgPool, connection: &mut PgConnection) -> anyhow::Result<()> {
    let query = "select n.nspname::text, pg_opclass_is_visible(o.oid) \
                 from pg_opclass o join pg_namespace n on n.oid = o.opcnamespace where o.opcname = 'gin_trgm_ops'";
    let place = async |connection: &mut PgConnection| {
        let row = sqlx::query(query).fetch_optional(connection).await?;
        row.map(|row| Ok::<(String, bool), sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()
    };
    let mut found = place(connection).await?;
    if found.is_none() {
        let mut tx = super::begin(pool).await?;
        sqlx::query!("select pg_advisory_xact_lock(hashtextextended('colloquy pg_trgm', 0))").execute(&mut *tx).await?;
        // In `public` if it exists: every schema can reach the extension there, and dropping an installation's schema
        // does not drop it.
        sqlx::raw_sql(
            "do $$ begin
                 if to_regnamespace('public') is null then create extension if not exists pg_trgm;
                 else create extension if not exists pg_trgm schema public;
                 end if;
             end $$",
        )
        .execute(&mut *tx)
        .await
        .context(
            "the extension pg_trgm, which comes with PostgreSQL (postgresql-contrib), could not be made; let the \
             database's owner run `create extension pg_trgm`",
        )?;
        tx.commit().await?;
        found = place(connection).await?;
    }
    match found {
        Some((schema, false)) => {
            ensure!(
                !is_pooled(pool),
                "the extension pg_trgm is in the schema \"{schema}\", which is not in the search_path; give \
                 PostgreSQL's own address as database.direct_url"
            );
            let path =
                "select set_config('search_path', current_setting('search_path') || ', ' || quote_ident($1), false)";
            sqlx::query(path).bind(schema).execute(connection).await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether this build's migrations have all been applied, for `/ready`.
pub async fn is_migrated(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
    // Not a checked macro: the migrator's own table does not exist when the macros check their statements.
    let applied: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success").fetch_one(pool).await?;
    Ok(applied >= newest)
}
