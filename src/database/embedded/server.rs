//! Starts `postgres`: its settings, its log, and the wait for sessions of a killed server.

use std::{
    fs::{self, File},
    io, mem,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Pid;

use super::{
    Options, StartError,
    account::Account,
    binaries::Binaries,
    directory::Directory,
    process::{NotReady, Process},
    sockets::{PORT, SocketDirectory},
};

/// Long enough to replay `max_wal_size` from a slow disk.
const START_PATIENCE: Duration = Duration::from_mins(3);

/// PostgreSQL's error while sessions of a killed server still finish their last statement.
const SESSIONS_REMAIN: &str = "pre-existing shared memory block";
const SESSIONS_PATIENCE: Duration = Duration::from_secs(30);
const SESSIONS_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How many of the log's last lines a failed start reports.
const REPORTED_LINES: usize = 8;

pub(super) struct Plan<'a> {
    pub(super) options: &'a Options,
    pub(super) directory: &'a Directory,
    pub(super) binaries: &'a Binaries,
    pub(super) account: &'a Account,
    pub(super) sockets: &'a SocketDirectory,
    /// The pid in `postmaster.pid`, if it belongs to another process.
    pub(super) stale_pid: Option<Pid>,
}

pub(super) fn start(plan: &Plan) -> Result<Process, StartError> {
    keep_last_log(&plan.directory.log())?;
    let deadline = Instant::now() + SESSIONS_PATIENCE;
    let mut announced = false;
    loop {
        match start_once(plan) {
            Err(StartError::Ended { log, .. }) if log.contains(SESSIONS_REMAIN) && Instant::now() < deadline => {
                if !mem::replace(&mut announced, true) {
                    tracing::info!("Waiting for the last statements of a database server that was killed.");
                }
                thread::sleep(SESSIONS_POLL_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}

fn start_once(plan: &Plan) -> Result<Process, StartError> {
    let log_file = plan.directory.log();
    let log = create_log(&log_file).map_err(StartError::file("create", &log_file))?;
    let postgres = command(plan, log).map_err(StartError::file("open", &log_file))?;
    let process =
        Process::spawn(postgres).map_err(|source| StartError::Run { program: plan.binaries.postgres(), source })?;
    match process.wait_until_ready(&plan.directory.data(), START_PATIENCE) {
        Ok(()) => Ok(process),
        Err(NotReady::Ended { status }) => Err(StartError::Ended { status, log: last_lines(&log_file) }),
        Err(NotReady::TooSlow) => {
            Err(StartError::TooSlow { seconds: START_PATIENCE.as_secs(), log: last_lines(&log_file) })
        }
    }
}

fn command(plan: &Plan, log: File) -> io::Result<Command> {
    let mut command = plan.account.command(&plan.binaries.postgres());
    command.arg("-D").arg(plan.directory.data()).arg("-k").arg(plan.sockets.path());
    for setting in settings(plan.options) {
        command.arg("-c").arg(setting);
    }
    if let Some(pid) = plan.stale_pid {
        // PostgreSQL never takes its grandparent for a running server. Its check of the shared memory, which is the one
        // that protects the data, still applies.
        command.env("PG_GRANDPARENT_PID", pid.as_raw_nonzero().to_string());
    }
    // Own process group: Ctrl-C reaches only this process, which then stops the server after its last query.
    command.process_group(0).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// Passed on the command line, so that they override the configuration files of the cluster.
fn settings(options: &Options) -> Vec<String> {
    let durable = if options.durable { "on" } else { "off" };
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        format!("port={PORT}"),
        "unix_socket_permissions=0700".to_owned(),
        format!("max_connections={}", options.max_connections),
        "shared_buffers=64MB".to_owned(),
        "max_wal_size=512MB".to_owned(),
        format!("fsync={durable}"),
        format!("synchronous_commit={durable}"),
        format!("full_page_writes={durable}"),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "logging_collector=off".to_owned(),
        "log_checkpoints=off".to_owned(),
        "cluster_name=colloquy".to_owned(),
    ];
    if cfg!(target_os = "linux") {
        // The default opens and syncs every file before recovery, which takes seconds after each crash.
        settings.push("recovery_init_sync_method=syncfs".to_owned());
    }
    settings
}

fn keep_last_log(log: &Path) -> Result<(), StartError> {
    match fs::rename(log, log.with_extension("log.old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StartError::file("rename", log)(error)),
        _ => Ok(()),
    }
}

/// Readable by this account only: PostgreSQL logs failed statements.
fn create_log(log: &Path) -> io::Result<File> {
    File::options().create(true).write(true).truncate(true).mode(0o600).open(log)
}

fn last_lines(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(REPORTED_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(durable: bool) -> Vec<String> {
        settings(&Options { dir: "/srv/colloquy".into(), durable, max_connections: 16 })
    }

    #[test]
    fn durability_is_always_said() {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            assert!(settings_of(true).contains(&format!("{name}=on")));
            assert!(settings_of(false).contains(&format!("{name}=off")));
        }
    }

    #[test]
    fn no_network_address_is_listened_on() {
        assert!(settings_of(true).contains(&"listen_addresses=".to_owned()));
    }
}
