//! Keeps the embedded PostgreSQL running: a server that dies is started again.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::embedded::{EmbeddedPostgres, Options};

const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The thread that owns the server. Dropping this ends the server without waiting; [`Supervisor::stop`] waits.
#[derive(Debug)]
pub(super) struct Supervisor {
    watcher: JoinHandle<()>,
    /// Dropped to tell the thread to stop the server.
    alive: Sender<()>,
}

impl Supervisor {
    pub(super) fn watch(server: EmbeddedPostgres, options: Options) -> std::io::Result<Self> {
        let (alive, owner) = mpsc::channel();
        let watcher = thread::Builder::new()
            .name("postgres-supervisor".into())
            .spawn(move || keep_running(Some(server), &options, &owner))?;
        Ok(Self { watcher, alive })
    }

    /// Stops the server. Blocks until it has ended.
    pub(super) fn stop(self) {
        drop(self.alive);
        if self.watcher.join().is_err() {
            tracing::warn!("The embedded PostgreSQL did not stop cleanly.");
        }
    }
}

fn keep_running(mut server: Option<EmbeddedPostgres>, options: &Options, owner: &Receiver<()>) {
    loop {
        let interval = if server.is_some() { LOOK_INTERVAL } else { RETRY_INTERVAL };
        if owner.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        if server.as_ref().is_some_and(|server| !server.has_ended()) {
            continue;
        }
        // Dropped first: the directory has to be unlocked before it can be claimed again.
        drop(server.take());
        match EmbeddedPostgres::start(options) {
            Ok(started) => server = Some(started),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error, "The embedded PostgreSQL cannot be started again yet.");
            }
        }
    }
}
