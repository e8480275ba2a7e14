//! A directory for one test, and the questions that tests ask a server.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use colloquy::testing::database::embedded::{EmbeddedPostgres, Options, StartError};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

/// A database directory that is removed after the test.
pub(crate) struct Home(TempDir);

impl Home {
    /// One that other accounts can reach: started by root, the server runs as one of them.
    pub(crate) fn new() -> Self {
        let home = Self::private();
        fs::set_permissions(home.0.path(), Permissions::from_mode(0o755)).expect("own directory");
        home
    }

    /// One below a directory that only this account may enter.
    pub(crate) fn private() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("database")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir().join("pg")
    }

    pub(crate) fn start(&self) -> EmbeddedPostgres {
        self.try_start().unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    pub(crate) fn try_start(&self) -> Result<EmbeddedPostgres, StartError> {
        EmbeddedPostgres::start(&test_options(self.dir()))
    }

    /// The pid in `postmaster.pid`, once the server says that it is ready.
    pub(crate) fn server_pid(&self) -> Pid {
        let file = self.data().join("postmaster.pid");
        let read = || fs::read_to_string(&file).unwrap_or_default();
        wait_until("the server is ready", || read().contains("ready"));
        let pid = read().lines().next().and_then(|line| line.parse().ok());
        pid.and_then(Pid::from_raw).expect("the first line is the pid")
    }
}

pub(crate) fn test_options(dir: PathBuf) -> Options {
    Options { dir, durable: false, max_connections: 10 }
}

/// Runs statements and returns the single text that the last one selects.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn ask(server: &EmbeddedPostgres, statements: &[&str]) -> String {
    let mut connection = PgConnection::connect_with(&server.connect_options("postgres")).await.expect("connects");
    let (question, preparations) = statements.split_last().expect("a statement");
    for statement in preparations {
        sqlx::raw_sql(AssertSqlSafe(*statement)).execute(&mut connection).await.expect("runs");
    }
    let answer = sqlx::query_scalar(AssertSqlSafe(*question)).fetch_one(&mut connection).await.expect("answers");
    connection.close().await.expect("closes");
    answer
}

pub(crate) fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("still there");
}

/// Every path below `dir`, to see that nothing has changed.
pub(crate) fn paths_below(dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            paths.extend(paths_below(&path));
        }
        paths.push(path);
    }
    paths.sort();
    paths
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "waited a minute in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
