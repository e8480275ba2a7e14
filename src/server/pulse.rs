//! What goes on on one connection, and until when it may.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::config::ServerSettings;

/// How long to wait for more of what nobody reads, before a connection is closed.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long a connection may be in each phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) header: Duration,
    pub(super) idle: Duration,
    pub(super) body: Duration,
    pub(super) write: Duration,
}

impl From<&ServerSettings> for Limits {
    fn from(settings: &ServerSettings) -> Self {
        Self {
            header: settings.header_timeout,
            idle: settings.idle_timeout,
            body: settings.request_timeout,
            write: settings.write_timeout,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has been asked, or all has been answered.
    Idle,
    /// A part of a request's head has arrived.
    Head,
    /// Only what is left is read, so that the client can read the answer.
    Closing,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Requests whose answers have not been handed over whole. A run may take its time: it has limits of its own.
    in_flight: usize,
    is_body_unread: bool,
    stalled_since: Option<Instant>,
    closing_since: Option<Instant>,
}

/// Shared by the connection, its socket, and its requests.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    limits: Limits,
}

impl Pulse {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let state = State {
            phase: Phase::Idle,
            since: Instant::now(),
            in_flight: 0,
            is_body_unread: false,
            stalled_since: None,
            closing_since: None,
        };
        Arc::new(Self { state: Mutex::new(state), limits })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Something has arrived; of HTTP/2 it may be anything. Answers whether a request begins with it.
    pub(super) fn note_read(&self) -> bool {
        let mut state = self.lock();
        let begins = state.phase == Phase::Idle && state.in_flight == 0;
        if begins {
            state.enter(Phase::Head);
        }
        begins
    }

    /// The client takes nothing at the moment, or does again.
    pub(super) fn note_write(&self, is_stalled: bool) {
        let mut state = self.lock();
        state.stalled_since = is_stalled.then(|| state.stalled_since.unwrap_or_else(Instant::now));
    }

    /// A request has arrived, but for its body. It is in flight until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, has_body: bool) -> InFlight {
        let mut state = self.lock();
        state.in_flight += 1;
        state.is_body_unread = has_body;
        state.enter(Phase::Idle);
        InFlight(self.clone())
    }

    pub(super) fn note_body_read(&self) {
        self.lock().is_body_unread = false;
    }

    /// The connection is about to be closed, and something may still come.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.enter(Phase::Closing);
        let now = state.since;
        state.closing_since.get_or_insert(now);
    }

    /// Whether a part of a request's head has arrived, and no more.
    pub(super) fn is_in_head(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Head && state.in_flight == 0
    }

    /// Whether the client may be sending still what nobody reads.
    pub(super) fn is_unread(&self) -> bool {
        let state = self.lock();
        state.is_body_unread || (state.phase == Phase::Head && state.in_flight == 0)
    }

    /// Whether it waits for nothing but a request.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Idle && state.stalled_since.is_none()
    }

    /// When it is to be closed if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.lock();
        let of_phase = match state.phase {
            Phase::Closing => Some(state.since + LINGER),
            _ if state.in_flight > 0 => None,
            Phase::Idle => Some(state.since + self.limits.idle),
            Phase::Head => Some(state.since + self.limits.header),
        };
        let of_write = state.stalled_since.map(|since| since + self.limits.write);
        let of_closing = state.closing_since.map(|since| since + self.limits.body);
        [of_phase, of_write, of_closing].into_iter().flatten().min()
    }

    /// A panic while the lock was held cannot have left the state half written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Pulse>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 && state.phase != Phase::Closing {
            state.enter(Phase::Idle);
        }
    }
}
