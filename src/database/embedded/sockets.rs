//! The server's Unix socket, in a directory that only its account may enter.

use std::{
    env,
    fmt::Write,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    StartError,
    account::Account,
    directory::{self, Directory},
};

/// Only a part of the socket's name: no TCP port is opened.
pub(super) const PORT: u16 = 5432;

/// The longest path, in bytes, that fits into `sockaddr_un` on macOS. Linux allows four more.
const LONGEST_PATH: usize = 103;

/// The socket's directory. Removed on drop.
#[derive(Debug)]
pub(super) struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// Creates the directory, and removes first what a killed server left there. The caller has ensured that none runs.
    ///
    /// Creation is exclusive, so no other account can put its own directory there.
    pub(super) fn create(directory: &Directory, account: &Account) -> Result<Self, StartError> {
        let path = place(directory)?;
        directory::remove(&path)?;
        directory::create_private(&path, account)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn url(&self, user: &str, database: &str) -> String {
        let database = percent_encode(database.as_bytes());
        let host = percent_encode(self.0.as_os_str().as_bytes());
        format!("postgres://{user}@localhost:{PORT}/{database}?host={host}&sslmode=disable")
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "The socket's directory cannot be removed.");
        }
    }
}

/// In the data directory or, if that path is too long for a socket, in the directory for temporary files. The name
/// there is derived from the data directory (device and inode), so that the next start finds it.
fn place(directory: &Directory) -> Result<PathBuf, StartError> {
    let beside = directory.path().join("run");
    if fits(&beside) {
        return Ok(beside);
    }
    let identity = fs::metadata(directory.path()).map_err(StartError::file("read", directory.path()))?;
    Ok(env::temp_dir().join(format!("colloquy-{:x}-{:x}", identity.dev(), identity.ino())))
}

fn fits(socket_directory: &Path) -> bool {
    socket_directory.join(format!(".s.PGSQL.{PORT}")).as_os_str().len() <= LONGEST_PATH
}

fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut encoded, &byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_counts_for_the_length() {
        let longest = "/".repeat(LONGEST_PATH - "/.s.PGSQL.5432".len());
        assert!(fits(Path::new(&longest.replace('/', "d"))));
        assert!(!fits(Path::new(&format!("{}d", longest.replace('/', "d")))));
    }

    #[test]
    fn only_unreserved_bytes_stay_as_they_are() {
        assert_eq!(percent_encode("/srv/a b-ü~".as_bytes()), "%2Fsrv%2Fa%20b-%C3%BC~");
    }
}
