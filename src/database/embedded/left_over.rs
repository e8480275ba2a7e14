//! Ends a server that outlived its owner, and detects a stale `postmaster.pid`.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{StartError, directory::Directory, pid_file::PidFile};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The process with the pid in `postmaster.pid`. We hold the directory's lock, so it is not a server still in use.
enum Holder {
    Nobody,
    /// An unreaped zombie, or another program that got the same pid.
    SomethingElse(Pid),
    Server(Pid),
}

/// Ends a server that still runs on the cluster. Returns the pid in `postmaster.pid` if it belongs to another process.
///
/// PostgreSQL would refuse to start as long as that pid exists, which in a container may be forever.
pub(super) fn end_server(directory: &Directory) -> Result<Option<Pid>, StartError> {
    let data = directory.data();
    let deadline = Instant::now() + PATIENCE;
    let mut asked = false;
    loop {
        let pid = match holder(&data) {
            Holder::Nobody => return Ok(None),
            Holder::SomethingElse(pid) => return Ok(Some(pid)),
            Holder::Server(pid) => pid,
        };
        if Instant::now() > deadline {
            return Err(StartError::LeftOver { data, pid: pid.as_raw_nonzero().get() });
        }
        if !asked {
            asked = true;
            tracing::warn!(pid = pid.as_raw_nonzero(), "Ending a database server that outlived its owner.");
            if let Err(error) = kill_process(pid, Signal::INT) {
                tracing::warn!(pid = pid.as_raw_nonzero(), %error, "The database server cannot be signalled.");
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn holder(data: &Path) -> Holder {
    let Some(PidFile { pid, .. }) = PidFile::read(data) else { return Holder::Nobody };
    // Only ESRCH means that there is no such process; EPERM means that it exists.
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return Holder::Nobody;
    }
    if serves(pid, data) { Holder::Server(pid) } else { Holder::SomethingElse(pid) }
}

/// Whether the process was started with `data` as an argument. A zombie has no arguments.
fn serves(pid: Pid, data: &Path) -> bool {
    let data = data.as_os_str().as_bytes();
    let pid = pid.as_raw_nonzero();
    if Path::new("/proc/self").exists() {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return arguments.split(|byte| *byte == 0).any(|argument| argument == data);
    }
    let listed = Command::new("ps").args(["-ww", "-o", "command=", "-p"]).arg(pid.to_string()).output();
    listed.is_ok_and(|listed| listed.stdout.windows(data.len()).any(|part| part == data))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, process::Stdio};

    use super::*;

    const DATA: &str = "/srv/colloquy/pg";

    #[test]
    fn a_server_is_known_by_its_data_directory() {
        let mut child = Command::new("sh")
            .args(["-c", "echo started; read wait", "postgres", "-D", DATA])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let pid = Pid::from_child(&child);
        child.stdout.take().expect("a pipe").read_exact(&mut [0; 7]).expect("sh says that it has started");
        assert!(serves(pid, Path::new(DATA)));
        assert!(!serves(pid, Path::new("/srv/colloquy")));

        child.kill().expect("still there");
        child.wait().expect("ends");
        assert!(!serves(pid, Path::new(DATA)));
    }
}
