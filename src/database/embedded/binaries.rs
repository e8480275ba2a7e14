//! Finds `postgres` and `initdb`: on `PATH`, in the distributions' usual directories, otherwise fetched.

use std::{
    cmp::Reverse,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{StartError, directory::Directory, fetch};

/// The first version with `recovery_init_sync_method`. Older versions are end-of-life.
pub(super) const OLDEST_MAJOR: u32 = 14;

/// Where package managers install servers that are not on `PATH`: parent, prefix of the directory's name, path in it.
const PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr/local", "pgsql", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    fn suit(&self, existing: Option<u32>) -> bool {
        self.major >= OLDEST_MAJOR && existing.is_none_or(|major| major == self.major)
    }
}

/// Finds binaries for a cluster of the major version `existing`, or for a new cluster.
pub(super) fn find(existing: Option<u32>, directory: &Directory) -> Result<Binaries, StartError> {
    let fetched = fetch::bin_directory(directory);
    let mut unsuitable = Vec::new();
    for dir in search_path().into_iter().chain(usual_places()).chain([fetched]) {
        match inspect(&dir) {
            Some(binaries) if binaries.suit(existing) => return Ok(binaries),
            Some(binaries) => unsuitable.push(binaries),
            None => {}
        }
    }
    match existing {
        Some(major) if major != fetch::MAJOR => {
            Err(StartError::OtherVersion { data: directory.data(), major, installed: describe(&unsuitable) })
        }
        _ => fetch_binaries(directory),
    }
}

fn fetch_binaries(directory: &Directory) -> Result<Binaries, StartError> {
    let dir = fetch::fetch(directory)?;
    inspect(&dir).ok_or_else(|| StartError::NoBinaries {
        reason: format!("the fetched server in {} does not run on this system", dir.display()),
    })
}

fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|dir| dir.is_absolute()).collect()
}

/// Directories that may hold binaries, in the order of `PLACES`, the newest version of each first.
fn usual_places() -> impl Iterator<Item = PathBuf> {
    PLACES.into_iter().flat_map(|(parent, prefix, tail)| {
        let mut names: Vec<String> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort_by_key(|name| Reverse(first_number(name)));
        names.into_iter().map(move |name| Path::new(parent).join(name).join(tail))
    })
}

/// The binaries in `dir`, if they exist and run.
fn inspect(dir: &Path) -> Option<Binaries> {
    // PATH often has symlinks. Whether another account has access depends on the real directory.
    let dir = dir.join("postgres").canonicalize().ok()?.parent()?.to_path_buf();
    if !dir.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let major = first_number(&String::from_utf8_lossy(&output.stdout));
    if major.is_none() {
        let said = String::from_utf8_lossy(&output.stderr);
        tracing::warn!(directory = %dir.display(), said = said.trim(), "These PostgreSQL binaries do not run.");
    }
    Some(Binaries { major: major?, dir })
}

/// The first number in `text`: 15 for `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` and for `postgresql@15`.
fn first_number(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn describe(binaries: &[Binaries]) -> String {
    if binaries.is_empty() {
        return "none".into();
    }
    let each: Vec<String> =
        binaries.iter().map(|found| format!("PostgreSQL {} in {}", found.major, found.dir.display())).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(major: u32) -> Binaries {
        Binaries { dir: "/usr/pgsql/bin".into(), major }
    }

    #[test]
    fn the_version_is_the_first_number() {
        assert_eq!(first_number("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(first_number("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(first_number("postgresql@9.6"), Some(9));
        assert_eq!(first_number("postgres: error while loading shared libraries"), None);
    }

    #[test]
    fn an_existing_cluster_takes_only_its_own_version() {
        assert!(binaries(15).suit(Some(15)));
        assert!(!binaries(16).suit(Some(15)));
    }

    #[test]
    fn a_new_cluster_takes_any_maintained_version() {
        assert!(binaries(OLDEST_MAJOR).suit(None));
        assert!(!binaries(OLDEST_MAJOR - 1).suit(None));
    }
}
