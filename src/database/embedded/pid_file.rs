//! `postmaster.pid`: PostgreSQL's own record of which server runs on a cluster, and in which state.

use std::{fs, path::Path};

use rustix::process::Pid;

/// The line with the server's state, counted from zero (`LOCK_FILE_LINE_PM_STATUS` in PostgreSQL's `pidfile.h`).
const STATUS_LINE: usize = 7;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: Pid,
    pub(super) ready: bool,
}

impl PidFile {
    /// `None` if the file does not exist, or is still incomplete.
    pub(super) fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // A server in single-user mode writes its pid as a negative number.
        let pid = text.lines().next()?.trim().parse::<i32>().ok()?.checked_abs()?;
        let ready = text.lines().nth(STATUS_LINE).is_some_and(|status| status.trim() == "ready");
        Some(Self { pid: Pid::from_raw(pid)?, ready })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_file(pid: i32, ready: bool) -> PidFile {
        PidFile { pid: Pid::from_raw(pid).expect("not zero"), ready }
    }

    #[test]
    fn a_server_is_ready_when_it_says_so() {
        let starting = "4711\n/srv/pg\n1763870000\n5432\n/srv/run\n\n  0  3\nstarting\n";
        assert_eq!(PidFile::parse(starting), Some(pid_file(4711, false)));
        assert_eq!(PidFile::parse(&starting.replace("starting", "ready   ")), Some(pid_file(4711, true)));
    }

    #[test]
    fn half_a_file_is_a_server_that_is_not_ready() {
        assert_eq!(PidFile::parse("4711\n/srv/pg\n"), Some(pid_file(4711, false)));
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn single_user_mode_counts() {
        assert_eq!(PidFile::parse("-4711\n"), Some(pid_file(4711, false)));
    }
}
