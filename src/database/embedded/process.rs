//! The server as a child process: started, watched and ended.

use std::{
    io,
    path::Path,
    process::Command,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::pid_file::PidFile;

/// The signals that stop the server, and how long each may take: fast shutdown, immediate shutdown, kill.
///
/// SIGTERM is not used: it waits for clients to disconnect.
const ENDINGS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(30)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A child process that is stopped on drop.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    life: Arc<Life>,
}

pub(super) enum NotReady {
    Ended { status: String },
    TooSlow,
}

#[derive(Debug, Default)]
struct Life {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Starting,
    Serving,
    Stopping,
    Ended(String),
}

impl Process {
    /// Spawns `command` from a dedicated thread, which lives until the child has ended: the parent-death signal depends
    /// on the thread that forked, and the child has to be reaped, because a zombie would keep the cluster locked.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        let life = Arc::new(Life::default());
        let (tell_spawned, spawned) = mpsc::channel();
        let keeper = {
            let life = Arc::clone(&life);
            move || match command.spawn() {
                Ok(mut child) => {
                    let _ = tell_spawned.send(Ok(Pid::from_child(&child)));
                    life.end(child.wait().map_or_else(|error| error.to_string(), |status| status.to_string()));
                }
                Err(error) => {
                    let _ = tell_spawned.send(Err(error));
                }
            }
        };
        thread::Builder::new().name("postgres-keeper".into()).spawn(keeper)?;
        let pid = spawned.recv().map_err(io::Error::other)??;
        Ok(Self { pid, life })
    }

    /// Waits until the server on `data` reports that it accepts connections.
    pub(super) fn wait_until_ready(&self, data: &Path, patience: Duration) -> Result<(), NotReady> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.life.wait_for_end(POLL_INTERVAL) {
                return Err(NotReady::Ended { status });
            }
            if PidFile::read(data).is_some_and(|file| file.ready && file.pid == self.pid) {
                self.life.enter(Phase::Serving);
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(NotReady::TooSlow);
            }
        }
    }
}

impl Process {
    pub(super) fn has_ended(&self) -> bool {
        self.life.wait_for_end(Duration::ZERO).is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.life.enter(Phase::Stopping);
        for (signal, patience) in ENDINGS {
            // Checked first: the pid of a child that has ended may belong to another process.
            if self.life.wait_for_end(Duration::ZERO).is_some() {
                return;
            }
            if let Err(error) = kill_process(self.pid, signal) {
                tracing::warn!(pid = self.pid.as_raw_nonzero(), %error, "The database server cannot be signalled.");
            }
            if self.life.wait_for_end(patience).is_some() {
                return;
            }
            tracing::warn!(pid = self.pid.as_raw_nonzero(), ?signal, ?patience, "The database server has not ended.");
        }
    }
}

impl Life {
    /// No effect after [`Phase::Ended`].
    fn enter(&self, next: Phase) {
        let mut phase = self.phase.lock().expect("no holder panics");
        if !matches!(*phase, Phase::Ended(_)) {
            *phase = next;
        }
    }

    fn end(&self, status: String) {
        let mut phase = self.phase.lock().expect("no holder panics");
        if matches!(*phase, Phase::Serving) {
            tracing::error!(%status, "The embedded PostgreSQL ended unexpectedly.");
        }
        *phase = Phase::Ended(status);
        self.changed.notify_all();
    }

    /// Returns the exit status as soon as there is one; `None` if there is none within `patience`.
    fn wait_for_end(&self, patience: Duration) -> Option<String> {
        let phase = self.phase.lock().expect("no holder panics");
        let running = |phase: &mut Phase| !matches!(phase, Phase::Ended(_));
        let (phase, _) = self.changed.wait_timeout_while(phase, patience, running).expect("no holder panics");
        match &*phase {
            Phase::Ended(status) => Some(status.clone()),
            _ => None,
        }
    }
}
