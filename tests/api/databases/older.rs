//! Databases of other versions: those from before tenants are refused and left as they are, and so are newer ones.

use colloquy::testing::database::embedded::{EmbeddedPostgres, Options};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

use super::serve;
use crate::support::{empty_database, server::failure, test_database};

const OLDER: &str = include_str!("older.sql");

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.expect("the database answers")
}

/// Everything in the database: schemas, extensions, tables, indexes, and the rows with who wrote them.
async fn everything(db: &mut PgConnection) -> Vec<String> {
    let shape = "
        select 'schema ' || nspname from pg_namespace where nspname not like 'pg_temp%' and nspname not like 'pg_toast_t%'
        union all select 'extension ' || extname from pg_extension
        union all
        select format('%s %s %s %s', relkind, oid::regclass, relfilenode, xmin) from pg_class
        where relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        order by 1";
    let mut found: Vec<String> = sqlx::query_scalar(shape).fetch_all(&mut *db).await.unwrap();
    let tables = "select oid::regclass::text from pg_class
                  where relkind = 'r' and relnamespace in ('public'::regnamespace, 'graphile_worker'::regnamespace)
                  order by 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *db).await.unwrap();
    assert_eq!(tables.len(), 6);
    for table in tables {
        let rows = format!("select format('%s %s %s %s', ctid, xmin, xmax, t) from {table} t order by 1");
        found.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(rows)).fetch_all(&mut *db).await.unwrap());
    }
    found
}

fn assert_says_what_to_do(refusal: &str) {
    for words in ["older Colloquy", "nothing was changed", "export", "empty database", "database.schema", "--data-dir"]
    {
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
}

#[tokio::test]
async fn a_database_from_before_tenants_is_refused_and_left_as_it_is() {
    let database = empty_database("").await;
    let mut db = connect(&database.options).await;
    sqlx::raw_sql(OLDER).execute(&mut db).await.unwrap();
    let before = everything(&mut db).await;
    for command in ["migrate", "serve", "work", "reindex"] {
        let refusal = failure(&[command, "--bind", "127.0.0.1:0"], &[("DATABASE_URL", &database.url)]);
        assert_says_what_to_do(&refusal);
        assert_eq!(everything(&mut db).await, before, "{command}");
    }
}

/// The embedded server of a data directory, and its database as `colloquy` names it.
async fn embedded(options: &Options) -> (EmbeddedPostgres, PgConnection) {
    let options = options.clone();
    let server = tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&options)).await.unwrap().unwrap();
    let mut maintenance = connect(&server.connect_options("postgres")).await;
    let is_there = "select exists (select from pg_database where datname = 'colloquy')";
    if !sqlx::query_scalar::<_, bool>(is_there).fetch_one(&mut maintenance).await.unwrap() {
        sqlx::raw_sql("create database colloquy").execute(&mut maintenance).await.unwrap();
    }
    maintenance.close().await.unwrap();
    let db = connect(&server.connect_options("colloquy")).await;
    (server, db)
}

async fn stop(server: EmbeddedPostgres, db: PgConnection) {
    db.close().await.unwrap();
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}

#[tokio::test]
async fn an_embedded_database_from_before_tenants_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let shared = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(home.path(), shared).unwrap();
    let options = Options { dir: home.path().join("data"), durable: false, max_connections: 20 };
    let (server, mut db) = embedded(&options).await;
    sqlx::raw_sql(OLDER).execute(&mut db).await.unwrap();
    let before = everything(&mut db).await;
    stop(server, db).await;
    let dir = options.dir.to_str().unwrap().to_owned();
    let refused = tokio::task::spawn_blocking(move || failure(&["migrate", "--data-dir", &dir], &[]));
    assert_says_what_to_do(&refused.await.unwrap());
    let (server, mut db) = embedded(&options).await;
    assert_eq!(everything(&mut db).await, before);
    stop(server, db).await;
}

#[tokio::test]
async fn a_schema_of_its_own_can_stand_beside_an_installation_from_before_tenants() {
    let database = empty_database("").await;
    let mut db = connect(&database.options).await;
    sqlx::raw_sql(OLDER).execute(&mut db).await.unwrap();
    let own = serve(&database.url, &[("COLLOQUY_DATABASE__SCHEMA", "own")]).await;
    let run = own.run(json!({"message": "Hi", "session_id": "s"})).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    let kept: i64 = sqlx::query_scalar("select count(*) from public.messages").fetch_one(&mut db).await.unwrap();
    assert_eq!(kept, 2);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_its_own_words() {
    let database = test_database().await;
    let mut db = connect(&database.options).await;
    sqlx::raw_sql(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'newer', true, '\\x00', 1)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let refusal = failure(&["migrate"], &[("DATABASE_URL", &database.url)]);
    assert!(refusal.contains("newer Colloquy") && refusal.contains("9999"), "{refusal}");
    assert!(!refusal.contains("older"), "{refusal}");
}
