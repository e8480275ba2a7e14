//! The registry of this process's live runs: limits their number, and gives access to each.
//!
//! A run is registered before it is accepted, so that its process knows every run that is stored. It is removed when
//! its entry is dropped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    config::RunSettings,
    events::log::EventLog,
    model::{Error, ProcessId, RunError, RunId, TenantId, UserId},
};

/// The runs of this process, by their ids.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// Notified when a background run may be ready to be taken.
    pub work: Notify,
    /// Held while background runs are taken: the database has assigned them already, but they are not registered yet.
    pub taking: tokio::sync::Mutex<()>,
    /// Held while this process registers under a new id.
    pub entering: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    process: ProcessId,
    runs: BTreeMap<RunId, Arc<LiveRun>>,
    /// Places reserved for background runs that are being taken.
    reserved: usize,
}

/// A run of this process.
#[derive(Debug)]
pub struct LiveRun {
    pub run_id: RunId,
    pub tenant_id: TenantId,
    user: Option<UserId>,
    background: bool,
    pub events: EventLog,
    pub stop: StopSignal,
    /// Notified when it may be this run's turn.
    pub turn: Notify,
    /// Set once the run is stored. Until then, its absence from the database means nothing.
    pub is_stored: OnceLock<()>,
}

/// Ends a run early. The first reason wins.
#[derive(Debug, Default)]
pub struct StopSignal {
    token: CancellationToken,
    reason: OnceLock<RunError>,
}

impl StopSignal {
    pub fn stop(&self, reason: RunError) {
        // Fails if there is a reason already: the first one wins.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub async fn stopped(&self) -> RunError {
        self.token.cancelled().await;
        self.reason.get().cloned().expect("the reason is set before the token")
    }
}

/// A run's entry in the registry. Dropping it removes the run.
#[derive(Debug)]
pub struct Entry {
    registry: Arc<Registry>,
    pub run: Arc<LiveRun>,
    /// Whether there was a free place for the run when it was registered.
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

/// Reserved places for background runs that are being taken. No other run begins in them until this is dropped.
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

    fn refuse_too_many(&self, tenant: &TenantId, user: Option<&UserId>, limits: &RunSettings) -> Result<(), Error> {
        let awaited = self.runs.values().filter(|run| !run.background);
        let (mut all, mut of_user) = (0, 0);
        for run in awaited {
            all += 1;
            of_user += usize::from(user.is_some() && run.user.as_ref() == user && run.tenant_id == *tenant);
        }
        if all >= limits.max_in_process {
            let detail = format!("This server has {all} runs already; try again in a moment, or on another replica");
            return Err(Error::unavailable(detail));
        }
        if of_user >= limits.max_per_user {
            let detail = format!("This user has {of_user} runs already; wait until one of them has ended");
            return Err(Error::limited(detail, Duration::from_secs(1)));
        }
        Ok(())
    }
}

impl Registry {
    /// The runs of this process.
    pub fn of(app: &App) -> Arc<Self> {
        app.room()
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
    /// Registers a new run and gives it its id. A foreground run is refused if there are too many of these.
    pub fn enter(
        self: &Arc<Self>,
        tenant: &TenantId,
        user: Option<&UserId>,
        background: bool,
        limits: &RunSettings,
        log: EventLog,
    ) -> Result<Entry, Error> {
        let mut inner = self.lock();
        if !background {
            inner.refuse_too_many(tenant, user, limits)?;
        }
        let run_id = RunId::mint();
        let may_begin = !background || inner.free_background(limits.background_concurrency) > 0;
        let mut entry = self.insert(&mut inner, run_id, (tenant, user), log, background);
        entry.may_begin = may_begin;
        Ok(entry)
    }

    /// Registers a background run that this process has taken.
    pub fn enter_background(
        self: &Arc<Self>,
        run_id: RunId,
        tenant: &TenantId,
        user: Option<&UserId>,
        events: EventLog,
    ) -> Entry {
        self.insert(&mut self.lock(), run_id, (tenant, user), events, true)
    }

    fn insert(
        self: &Arc<Self>,
        inner: &mut Inner,
        run_id: RunId,
        (tenant, user): (&TenantId, Option<&UserId>),
        events: EventLog,
        background: bool,
    ) -> Entry {
        let run = Arc::new(LiveRun {
            run_id,
            tenant_id: tenant.clone(),
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

    /// Reserves all free places for background runs.
    pub fn reserve_background(self: &Arc<Self>, limit: usize) -> Places {
        let mut inner = self.lock();
        let count = inner.free_background(limit);
        inner.reserved += count;
        Places { registry: self.clone(), count }
    }

    /// The id under which this process executes runs.
    pub fn process(&self) -> ProcessId {
        self.lock().process
    }

    /// Switches to the new id `process` after others have declared this process dead. Returns the runs that no longer
    /// belong to it: those that are already stored. The others are accepted under the new id.
    pub fn be_reborn(&self, process: ProcessId) -> Vec<Arc<LiveRun>> {
        let mut inner = self.lock();
        inner.process = process;
        inner.runs.values().filter(|run| run.is_stored.get().is_some()).cloned().collect()
    }

    /// Ignores poisoning: a panic while the lock was held cannot have left the map half written.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
