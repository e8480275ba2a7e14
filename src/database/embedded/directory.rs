//! The data directory: its lock, and the atomic creation of directories in it.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

use super::{StartError, account::Account};

/// The data directory, locked against other Colloquy processes while this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Creates `path` if it does not exist, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, StartError> {
        // Not 0700: if this process is root, the server has another account and must be able to reach its data.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(StartError::file("create the database directory", path))?;
        let path = path.canonicalize().map_err(StartError::file("resolve the database directory", path))?;

        let lock_file = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_file)
            .map_err(StartError::file("open", &lock_file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse { dir: path }),
            Err(TryLockError::Error(error)) => Err(StartError::file("lock", lock_file)(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("pg")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread has forked shares the lock until its exec.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(directory = %self.path.display(), %error, "The database directory cannot be unlocked.");
        }
    }
}

/// Creates `path`, which must not exist, with access for `account` only.
pub(super) fn create_private(path: &Path, account: &Account) -> Result<(), StartError> {
    DirBuilder::new().mode(0o700).create(path).map_err(StartError::file("create", path))?;
    if let Account::Other { uid, gid } = *account {
        chown(path, Some(uid), Some(gid)).map_err(StartError::file("change the owner of", path))?;
    }
    Ok(())
}

/// Removes what an interrupted start left at `path`, if anything.
pub(super) fn remove(path: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StartError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Renames a finished directory to its final name after syncing it to disk: the final name never refers to incomplete
/// content, not even after a power failure.
pub(super) fn move_into_place(finished: &Path, place: &Path) -> Result<(), StartError> {
    let parent = place.parent().unwrap_or(place);
    sync_file_system(finished).map_err(StartError::file("write to disk", finished))?;
    fs::rename(finished, place).map_err(StartError::file("rename", finished))?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(StartError::file("write to disk", parent))
}

#[cfg(target_os = "linux")]
fn sync_file_system(path: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(path)?)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the Linux version can fail")]
fn sync_file_system(_: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}
