//! One PostgreSQL per test process, one database per test, in which a decoy stands beside the default tenant
//! (`decoy.sql`). The tests' own statements do not see it (`seen.sql`).
//!
//! The server is the embedded one with fsync off, in a slot below `target` that is kept between runs; a process that
//! finds a slot taken uses the next. Databases are copies of a template that is migrated once.

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use colloquy::testing::{
    database::embedded::{EmbeddedPostgres, Options, StartError},
    server::migrate,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::OnceCell;

static MIGRATIONS: Migrator = sqlx::migrate!();
/// What stands beside the migrated tables.
const BESIDE: [&str; 2] = [include_str!("database/seen.sql"), include_str!("database/decoy.sql")];
/// What the tests' own connections begin with. Before the path that the database may have set.
const SEE: &str = "select set_config('search_path', 'seen, ' || current_setting('search_path'), false)";
const SLOTS: u32 = 16;

/// A migrated, empty database.
#[derive(Clone)]
pub(crate) struct TestDatabase {
    pub(crate) options: PgConnectOptions,
    pub(crate) url: String,
}

impl TestDatabase {
    /// Runs `alter database … ` with each of these ends: what connections begin with from then on.
    pub(crate) async fn alter(&self, changes: &[&str]) {
        let mut connection = PgConnection::connect_with(&self.options).await.expect("the database answers");
        for change in changes {
            let name = self.options.get_database().expect("it has a name");
            let statement = format!("alter database {name} {change}");
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement runs");
        }
        connection.close().await.expect("the connection closes");
    }

    /// A pool for what a test looks at and changes by itself. Its statements are not logged: the server's are.
    pub(crate) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SEE).execute(connection).await.map(drop) })
            })
            .connect_lazy_with(self.options.clone().disable_statement_logging())
    }

    /// A connection for the same.
    pub(crate) async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect_with(&self.options).await.expect("the database answers");
        sqlx::raw_sql(SEE).execute(&mut connection).await.expect("the statement runs");
        connection
    }
}

pub(crate) async fn test_database() -> TestDatabase {
    let server = tokio::task::spawn_blocking(server).await.expect("the server starts");
    let template = template(server).await;
    let name = next_name();
    run(server, &format!("create database {name} template {template} strategy file_copy")).await;
    TestDatabase { options: server.connect_options(&name), url: server.url(&name) }
}

/// An empty database, made with these options of `create database`.
pub(crate) async fn empty_database(options: &str) -> TestDatabase {
    let server = tokio::task::spawn_blocking(server).await.expect("the server starts");
    let name = next_name();
    run(server, &format!("create database {name} template template0 {options}")).await;
    TestDatabase { options: server.connect_options(&name), url: server.url(&name) }
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Lives as long as the process; its death ends the server.
fn server() -> &'static EmbeddedPostgres {
    static SERVER: OnceLock<EmbeddedPostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let slots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres");
        for slot in 0..SLOTS {
            let dir = slots.join(format!("slot-{slot}"));
            match EmbeddedPostgres::start(&Options { dir, durable: false, max_connections: 300 }) {
                Ok(server) => return server,
                Err(StartError::InUse { .. }) => {}
                Err(error) => panic!("{:#}", anyhow::Error::from(error)),
            }
        }
        panic!("{SLOTS} test processes run already");
    })
}

/// The migrated template; made anew when the migrations have changed.
async fn template(server: &'static EmbeddedPostgres) -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let migrations = MIGRATIONS.iter().flat_map(|migration| migration.checksum.iter().copied());
            let checksum = migrations
                .chain(BESIDE.into_iter().flat_map(str::bytes))
                .fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
            let name = format!("migrated_{checksum:x}");
            if databases_like(server, &name.replace('_', "\\_")).await.is_empty() {
                let unfinished = format!("unfinished_{checksum:x}");
                run(server, &format!("drop database if exists {unfinished}")).await;
                run(server, &format!("create database {unfinished}")).await;
                let pool = PgPool::connect_with(server.connect_options(&unfinished)).await.unwrap();
                migrate(&pool).await.unwrap();
                for statements in BESIDE {
                    sqlx::raw_sql(statements).execute(&pool).await.unwrap();
                }
                pool.close().await;
                run(server, &format!("alter database {unfinished} rename to {name}")).await;
            }
            let old = databases_like(server, "test\\_%").await;
            std::thread::spawn(move || drop_databases(server, old));
            name
        })
        .await
}

/// Removes what earlier processes left behind; not waited for, because each takes a checkpoint.
#[tokio::main(flavor = "current_thread")]
async fn drop_databases(server: &'static EmbeddedPostgres, names: Vec<String>) {
    for name in names {
        run(server, &format!("drop database if exists {name} with (force)")).await;
    }
}

async fn databases_like(server: &EmbeddedPostgres, pattern: &str) -> Vec<String> {
    let mut connection = PgConnection::connect_with(&server.connect_options("postgres")).await.unwrap();
    let names = sqlx::query_scalar("select datname::text from pg_database where datname like $1")
        .bind(pattern)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    names
}

/// The names in these statements are made here, of digits and letters.
async fn run(server: &EmbeddedPostgres, statement: &str) {
    let mut connection = PgConnection::connect_with(&server.connect_options("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
