//! Chooses the account that the server runs as, and builds its command line.
//!
//! PostgreSQL refuses to run as root. If this process is root, the server runs as `postgres` or `nobody`. If neither
//! can reach the files (for example below a home directory with mode 0700), it runs in a user namespace that maps root
//! to another uid: the files still belong to root, and PostgreSQL's check passes.

use std::{
    env,
    ffi::OsStr,
    fs::{self, Metadata},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use super::{StartError, binaries::Binaries, directory::Directory};

/// In order of preference: PostgreSQL's own account, then the unprivileged one.
const SERVICE_ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// Wrapper that runs a command in the user namespace. It execs and does not fork: the server keeps the pid.
const IN_USER_NAMESPACE: [&str; 5] = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"];

/// Wrapper that sends SIGINT to a command when its parent dies. It execs as well.
const WITH_DEATH_SIGNAL: [&str; 4] = ["setpriv", "--pdeathsig", "INT", "--"];

/// Environment variables that the server inherits. The rest is withheld: it holds the API keys of model providers.
const INHERITED: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The account of this process.
    Own,
    Other {
        uid: u32,
        gid: u32,
    },
    /// Root, mapped to another uid.
    UserNamespace,
}

impl Account {
    /// This process's account if it is not root. As root: the owner of the cluster, or for a new cluster an account
    /// that can reach both data and binaries.
    pub(super) fn choose(directory: &Directory, binaries: &Binaries) -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        if let Ok(cluster) = fs::metadata(directory.data()) {
            return Ok(Self::owner_of(&cluster));
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        SERVICE_ACCOUNTS
            .into_iter()
            .filter_map(|name| Self::in_passwd(&accounts, name))
            .find(|account| account.can_enter(directory.path()) && account.can_enter(&binaries.dir))
            .or_else(|| runs(&IN_USER_NAMESPACE).then_some(Self::UserNamespace))
            .ok_or_else(|| StartError::NoAccount { dir: directory.path().into() })
    }

    fn owner_of(cluster: &Metadata) -> Self {
        match cluster.uid() {
            0 => Self::UserNamespace,
            uid => Self::Other { uid, gid: cluster.gid() },
        }
    }

    fn in_passwd(accounts: &str, name: &str) -> Option<Self> {
        let fields =
            accounts.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some(Self::Other { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }

    fn can_enter(self, dir: &Path) -> bool {
        dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|metadata| self.can_search(&metadata)))
    }

    /// The kernel checks only one permission class: an owner without the bit does not fall back to the bits of others.
    fn can_search(self, dir: &Metadata) -> bool {
        let right = match self {
            Self::Other { uid, .. } if dir.uid() == uid => 0o100,
            Self::Other { gid, .. } if dir.gid() == gid => 0o010,
            _ => 0o001,
        };
        dir.mode() & right != 0
    }

    /// A command that runs `program` under this account, with a parent-death signal if the system supports it.
    ///
    /// The signal is set last, because changing the account clears it. It is sent when the *thread* that spawned the
    /// command ends, so that thread has to outlive the command.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut words: Vec<&OsStr> = Vec::new();
        if self == Self::UserNamespace {
            words.extend(IN_USER_NAMESPACE.map(OsStr::new));
        }
        // macOS and busybox do not support `--pdeathsig`. Without it, the next start ends a leftover server.
        if runs(&WITH_DEATH_SIGNAL) {
            words.extend(WITH_DEATH_SIGNAL.map(OsStr::new));
        }
        words.push(program.as_os_str());

        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir("/").stdin(Stdio::null()).env_clear();
        // macOS: without an explicit locale, PostgreSQL may become multithreaded during startup, and exit.
        command.env("LC_ALL", "C").envs(INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Whether the system has the wrapper, supports these options, and permits them.
fn runs(wrapper: &[&str]) -> bool {
    Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\nbroken\n";

    #[test]
    fn accounts_come_from_passwd() {
        assert_eq!(Account::in_passwd(PASSWD, "postgres"), Some(Account::Other { uid: 101, gid: 104 }));
        assert_eq!(Account::in_passwd(PASSWD, "nobody"), None);
        assert_eq!(Account::in_passwd(PASSWD, "broken"), None);
    }

    #[test]
    fn only_the_class_that_applies_counts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o701)).expect("own directory");
        let metadata = fs::metadata(dir.path()).expect("exists");
        let (uid, gid) = (metadata.uid(), metadata.gid());

        assert!(Account::Other { uid, gid }.can_search(&metadata));
        assert!(!Account::Other { uid: uid + 1, gid }.can_search(&metadata));
        assert!(Account::Other { uid: uid + 1, gid: gid + 1 }.can_search(&metadata));
    }
}
