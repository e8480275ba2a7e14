//! The runs of this process: how many there are, and how to reach one of them.
//!
//! A run is entered before it is accepted, so that no run is ever stored that its process does not know, and leaves when
//! its entry is dropped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    events::EventLog,
    model::{ProcessId, RunError, RunId},
};
use crate::{auth::UserId, config::RunSettings, http::Problem};

/// The runs of this process, by their ids.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// Told when a background run may be free to take.
    pub work: Notify,
    /// Held while background runs are taken: the database has handed them out, and they are not known here yet.
    pub taking: tokio::sync::Mutex<()>,
    /// Held while this process gets a new name.
    pub entering: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    process: ProcessId,
    runs: BTreeMap<RunId, Arc<LiveRun>>,
    /// Places for background runs that are being taken.
    reserved: usize,
}

/// A run of this process.
#[derive(Debug)]
pub struct LiveRun {
    pub run_id: RunId,
    user: Option<UserId>,
    background: bool,
    pub events: EventLog,
    pub stop: StopSignal,
    /// Told when it may be its turn.
    pub turn: Notify,
    /// Set when it is stored: before, it is no wonder that the database does not know it.
    pub is_stored: OnceLock<()>,
}

/// Ends a run early, for the first reason that is given.
#[derive(Debug, Default)]
pub struct StopSignal {
    token: CancellationToken,
    reason: OnceLock<RunError>,
}

impl StopSignal {
    pub fn stop(&self, reason: RunError) {
        // A run is stopped once.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub async fn stopped(&self) -> RunError {
        self.token.cancelled().await;
        self.reason.get().cloned().expect("the reason is set before the token")
    }
}

/// A run's place in the registry, until it is dropped.
#[derive(Debug)]
pub struct Entry {
    registry: Arc<Registry>,
    pub run: Arc<LiveRun>,
    /// Whether there was a place for the run when it was entered.
    pub may_begin: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.lock().runs.remove(&self.run.run_id);
        if self.run.background {
            self.registry.work.notify_one();
        }
    }
}

/// Places for background runs that are being taken: until this is dropped, no other run begins in them.
#[derive(Debug)]
pub struct Places {
    registry: Arc<Registry>,
    pub count: usize,
}

impl Drop for Places {
    fn drop(&mut self) {
        self.registry.lock().reserved -= self.count;
    }
}

impl Inner {
    /// How many more background runs this process may execute.
    fn free_background(&self, limit: usize) -> usize {
        let taken = self.runs.values().filter(|run| run.background).count() + self.reserved;
        limit.saturating_sub(taken)
    }

    fn refuse_too_many(&self, user: Option<&UserId>, limits: &RunSettings) -> Result<(), Problem> {
        let awaited = self.runs.values().filter(|run| !run.background);
        let (mut all, mut of_user) = (0, 0);
        for run in awaited {
            all += 1;
            of_user += usize::from(user.is_some() && run.user.as_ref() == user);
        }
        if all >= limits.max_in_process {
            let detail = format!("This server has {all} runs already; try again in a moment, or on another replica");
            return Err(Problem::unavailable(detail));
        }
        if of_user >= limits.max_per_user {
            let detail = format!("This user has {of_user} runs already; wait until one of them has ended");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(Duration::from_secs(1)));
        }
        Ok(())
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner { process: ProcessId::mint(), runs: BTreeMap::new(), reserved: 0 }),
            work: Notify::new(),
            taking: tokio::sync::Mutex::default(),
            entering: tokio::sync::Mutex::default(),
        }
    }
}

impl Registry {
    /// Enters a new run, unless there are too many for which clients wait, and gives it its id.
    pub fn enter(
        self: &Arc<Self>,
        user: Option<&UserId>,
        background: bool,
        limits: &RunSettings,
        log: impl FnOnce(RunId) -> EventLog,
    ) -> Result<Entry, Problem> {
        let mut inner = self.lock();
        if !background {
            inner.refuse_too_many(user, limits)?;
        }
        let run_id = RunId::mint();
        let may_begin = !background || inner.free_background(limits.background_concurrency) > 0;
        let mut entry = self.insert(&mut inner, run_id, user, log(run_id), background);
        entry.may_begin = may_begin;
        Ok(entry)
    }

    /// Enters a background run that this process has taken.
    pub fn enter_background(self: &Arc<Self>, run_id: RunId, user: Option<&UserId>, events: EventLog) -> Entry {
        self.insert(&mut self.lock(), run_id, user, events, true)
    }

    fn insert(
        self: &Arc<Self>,
        inner: &mut Inner,
        run_id: RunId,
        user: Option<&UserId>,
        events: EventLog,
        background: bool,
    ) -> Entry {
        let run = Arc::new(LiveRun {
            run_id,
            user: user.cloned(),
            background,
            events,
            stop: StopSignal::default(),
            turn: Notify::new(),
            is_stored: OnceLock::new(),
        });
        inner.runs.insert(run_id, run.clone());
        Entry { registry: self.clone(), run, may_begin: true }
    }

    pub fn get(&self, run_id: RunId) -> Option<Arc<LiveRun>> {
        self.lock().runs.get(&run_id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<LiveRun>> {
        self.lock().runs.values().cloned().collect()
    }

    /// Reserves all places that are free.
    pub fn reserve_background(self: &Arc<Self>, limit: usize) -> Places {
        let mut inner = self.lock();
        let count = inner.free_background(limit);
        inner.reserved += count;
        Places { registry: self.clone(), count }
    }

    /// As whom this process executes runs.
    pub fn process(&self) -> ProcessId {
        self.lock().process
    }

    /// Begins a new life as `process` after the others took this one for dead. Answers the runs that are not its own any
    /// more: those that are stored by now. The others are accepted under the new name.
    pub fn be_reborn(&self, process: ProcessId) -> Vec<Arc<LiveRun>> {
        let mut inner = self.lock();
        inner.process = process;
        inner.runs.values().filter(|run| run.is_stored.get().is_some()).cloned().collect()
    }

    /// A panic while the lock was held cannot have left the map half written.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
