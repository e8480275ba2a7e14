//! The state of one connection, and its deadlines.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::config::ServerSettings;

/// How long to wait for further input, which is discarded, before a connection is closed.
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
    /// No new request has begun to arrive. Earlier ones may be in flight.
    Idle,
    /// A part of a request's head has arrived.
    Head,
    /// Lingering close: the rest of the input is read and discarded, so that the client can read the response.
    Closing,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Requests without a complete response. They have no deadline here, because runs have their own limits.
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

    /// Input has arrived. Returns whether a request begins with it. Only for HTTP/1: in HTTP/2 it may be any frame.
    pub(super) fn note_read(&self) -> bool {
        let mut state = self.lock();
        let begins = state.phase == Phase::Idle && state.in_flight == 0;
        if begins {
            state.enter(Phase::Head);
        }
        begins
    }

    /// Records whether writing is stalled, because the client does not read.
    pub(super) fn note_write(&self, is_stalled: bool) {
        let mut state = self.lock();
        state.stalled_since = is_stalled.then(|| state.stalled_since.unwrap_or_else(Instant::now));
    }

    /// The head of a request has arrived. The request is in flight until the returned guard is dropped.
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

    /// Begins the lingering close, or prolongs it after further input.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.enter(Phase::Closing);
        let now = state.since;
        state.closing_since.get_or_insert(now);
    }

    /// Whether only a part of a request's head has arrived.
    pub(super) fn is_in_head(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Head && state.in_flight == 0
    }

    /// Whether the client may still be sending input that the server will not read.
    pub(super) fn is_unread(&self) -> bool {
        let state = self.lock();
        state.is_body_unread || (state.phase == Phase::Head && state.in_flight == 0)
    }

    /// Whether the connection only waits for a request.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Idle && state.stalled_since.is_none()
    }

    /// When the connection is closed if nothing happens until then; `None` if there is no limit.
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

    /// Ignores poisoning: a panic under the lock cannot leave the state half written.
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
