//! Schema migrations.

mod statements;

use anyhow::{Context, ensure};
use sqlx::{
    Connection, PgConnection, PgPool, Row,
    migrate::{Migrate, MigrateError, Migrator},
};

use self::statements::statements;
use super::{Namespace, is_pooled};

static MIGRATIONS: Migrator = sqlx::migrate!();
/// Where the migrations that have been applied are noted.
const TABLE: &str = "_sqlx_migrations";

/// Applies pending migrations, then runs `then`, under one advisory lock: processes that start together wait for each
/// other.
pub async fn migrate(
    pool: &PgPool,
    then: impl AsyncFnOnce(&PgPool, &Namespace) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let namespace = Namespace::of(pool).await?;
    refuse_tables_without_tenants(pool, &namespace).await?;
    let mut lock = super::begin(pool).await?;
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0").execute(&mut *lock).await?;
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('colloquy migrations ' || $1, 0))", namespace.schema)
        .execute(&mut *lock)
        .await?;
    // Detached, and not returned to the pool: `find_trigrams` may change its `search_path`.
    let mut connection = pool.acquire().await?.detach();
    find_trigrams(pool, &mut connection).await?;
    apply(&mut connection).await.context(
        "the database schema could not be brought up to date; \
         if a newer Colloquy has migrated it, run that version, otherwise see the reason",
    )?;
    connection.close().await?;
    then(pool, &namespace).await?;
    Ok(lock.commit().await?)
}

/// Refuses the tables of versions before tenants, before anything is changed. There is no migration from them: all keys
/// are different.
async fn refuse_tables_without_tenants(pool: &PgPool, namespace: &Namespace) -> anyhow::Result<()> {
    let query = "
        select exists (
            select from pg_class sessions
            join pg_class migrations using (relnamespace)
            where relnamespace = to_regnamespace(quote_ident($1))
              and sessions.relname = 'sessions' and migrations.relname = $2
              and not exists (
                  select from pg_attribute a
                  where a.attrelid = sessions.oid and a.attname = 'tenant_id' and not a.attisdropped
              )
        )";
    let is_old: bool = sqlx::query_scalar(query).bind(&namespace.schema).bind(TABLE).fetch_one(pool).await?;
    ensure!(
        !is_old,
        "the tables in the schema \"{}\" were made by an older Colloquy, one without tenants, and cannot be brought up to \
         date; nothing was changed. If you need its sessions, export them with that version (GET \
         /sessions/{{session_id}}/export). Then give an empty database in the URL, or a new schema as database.schema, or \
         another --data-dir for the embedded PostgreSQL, and import them there (POST /sessions/import)",
        namespace.schema
    );
    Ok(())
}

/// Applies pending migrations, each in a transaction.
///
/// Not by sqlx's own `run`: that sends all statements of a migration in one message, which distributed databases refuse
/// if one of them creates an index. Its lock is a session-level advisory lock, which a transaction pooler does not keep.
async fn apply(connection: &mut PgConnection) -> Result<(), MigrateError> {
    connection.ensure_migrations_table(TABLE).await?;
    if let Some(version) = connection.dirty_version(TABLE).await? {
        return Err(MigrateError::Dirty(version));
    }
    let applied = connection.list_applied_migrations(TABLE).await?;
    if let Some(unknown) = applied.iter().find(|applied| !MIGRATIONS.version_exists(applied.version)) {
        return Err(MigrateError::VersionMissing(unknown.version));
    }
    for migration in MIGRATIONS.iter() {
        if let Some(applied) = applied.iter().find(|applied| applied.version == migration.version) {
            if applied.checksum != migration.checksum {
                return Err(MigrateError::VersionMismatch(migration.version));
            }
            continue;
        }
        let mut tx = connection.begin().await?;
        for statement in statements(migration.sql.as_str()) {
            let done = sqlx::raw_sql(statement).execute(&mut *tx).await;
            done.map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
        }
        // Notes it as applied.
        tx.skip(TABLE, migration).await?;
        tx.commit().await?;
    }
    Ok(())
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
    let checksums: Vec<&[u8]> = MIGRATIONS.iter().map(|migration| &*migration.checksum).collect();
    // Not a checked macro: the migrator's own table does not exist when the macros check their statements.
    let query = "select count(*) from _sqlx_migrations where success and checksum = any($1)";
    let applied: i64 = sqlx::query_scalar(query).bind(&checksums).fetch_one(pool).await?;
    Ok(usize::try_from(applied).is_ok_and(|applied| applied >= checksums.len()))
}
