//! A PostgreSQL that a test may stop and start.

use colloquy::testing::database::embedded::{EmbeddedPostgres, Options};

use super::TestDatabase;

pub(crate) struct OwnPostgres {
    options: Options,
    server: Option<EmbeddedPostgres>,
    _home: tempfile::TempDir,
}

impl OwnPostgres {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let shared = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.path(), shared).expect("own directory");
        let options = Options { dir: home.path().join("database"), durable: false, max_connections: 20 };
        let mut own = Self { options, server: None, _home: home };
        own.start();
        own
    }

    pub(crate) fn start(&mut self) {
        let options = self.options.clone();
        self.server = Some(EmbeddedPostgres::start(&options).expect("starts"));
    }

    pub(crate) fn stop(&mut self) {
        drop(self.server.take());
    }

    /// Its one database, migrated.
    pub(crate) async fn database(&self) -> TestDatabase {
        let server = self.server.as_ref().expect("running");
        let options = server.connect_options("postgres");
        let pool = sqlx::PgPool::connect_with(options.clone()).await.expect("connects");
        colloquy::testing::server::migrate(&pool).await.expect("migrates");
        pool.close().await;
        TestDatabase { options, url: server.url("postgres") }
    }
}
