//! The cluster (PGDATA): its version, and its creation.

use std::{fs, io, process::Output};

use super::{
    SUPERUSER, StartError,
    account::Account,
    binaries::Binaries,
    directory::{self, Directory},
};

/// Classifies the letters of all languages, for `lower`, `ILIKE` and full-text search. macOS has no `C.UTF-8`.
const CHARACTER_TYPE: &str = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };

/// The major version of the cluster; `None` if there is no cluster yet.
pub(super) fn major_version(directory: &Directory) -> Result<Option<u32>, StartError> {
    let data = directory.data();
    match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => match parse_version(&version) {
            Some(major) => Ok(Some(major)),
            None => Err(StartError::NotACluster { data }),
        },
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StartError::file("read", data)(error)),
        Err(_) if data.exists() => Err(StartError::NotACluster { data }),
        Err(_) => Ok(None),
    }
}

/// Runs initdb in a temporary directory and renames it: the final path never holds an incomplete cluster.
pub(super) fn create(
    directory: &Directory,
    binaries: &Binaries,
    account: &Account,
    durable: bool,
) -> Result<(), StartError> {
    let data = directory.data();
    tracing::info!(directory = %data.display(), version = binaries.major, "Creating the database.");

    let unfinished = data.with_extension("init");
    directory::remove(&unfinished)?;
    directory::create_private(&unfinished, account)?;

    let program = binaries.initdb();
    let mut initdb = account.command(&program);
    initdb.arg("-D").arg(&unfinished).args(["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--data-checksums"]);
    // Sorting by code point is fast and stays the same when the system's C library changes.
    initdb.args(["--locale=C", "--lc-ctype", CHARACTER_TYPE]);
    // One sync of the file system below replaces about a thousand syncs of single files.
    initdb.arg("--no-sync");
    if !durable {
        initdb.arg("--wal-segsize=1");
    }
    let output = initdb.output().map_err(|source| StartError::Run { program, source })?;
    if !output.status.success() {
        return Err(StartError::Create { output: all_of(&output) });
    }
    if durable {
        directory::move_into_place(&unfinished, &data)
    } else {
        fs::rename(&unfinished, data).map_err(StartError::file("rename", unfinished))
    }
}

fn parse_version(text: &str) -> Option<u32> {
    text.trim().split('.').next()?.parse().ok()
}

fn all_of(output: &Output) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_in_both_old_and_new_form() {
        assert_eq!(parse_version("15\n"), Some(15));
        assert_eq!(parse_version("9.6\n"), Some(9));
        assert_eq!(parse_version(""), None);
    }
}
