//! Readers of a run's events: from the live log in the process that executes the run, from the database elsewhere.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::Registry;
use crate::{
    app::App,
    clock,
    events::{Completion, Event, EventKind, EventLog, log::Lookup, store},
    model::{ModelInfo, Run, RunError, RunErrorKind, RunId, RunStatus, Scope, SessionId},
    runs,
};

/// How often the database is polled for events of a run that another process executes.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The most batches of stored events that are read at once. They stay in memory until the client takes them.
const MAX_BATCHES: i64 = 8;
/// The number of batches per read is doubled while the previous read had fewer bytes than this.
const SMALL_BYTES: usize = 32 * 1024;

/// The run that a reader follows.
#[derive(Clone, Debug)]
pub struct Followed {
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
}

/// Reads the events of one run, from any index, while it is running and afterwards.
#[derive(Debug)]
pub struct Reader {
    app: Arc<App>,
    scope: Scope,
    session_id: SessionId,
    seq: i64,
    run_id: RunId,
    log: Option<EventLog>,
    next: i32,
    fetched: VecDeque<Arc<Event>>,
    batches: i64,
    is_at_end: bool,
}

impl Reader {
    /// Follows a run, starting with the event at index `next`. `log` is its live log, if it is executed here.
    pub fn new(app: &Arc<App>, scope: Scope, run: Followed, log: Option<EventLog>, next: i32) -> Self {
        let Followed { session_id, seq, run_id } = run;
        Self {
            app: app.clone(),
            scope,
            session_id,
            seq,
            run_id,
            log: log.filter(EventLog::is_recording),
            next,
            fetched: VecDeque::new(),
            batches: 1,
            is_at_end: false,
        }
    }

    /// The next event; `None` after the last one. Waits while the database is unavailable.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                self.next = event.index + 1;
                return Some(event);
            }
            if self.is_at_end {
                return None;
            }
            self.log = self.log.take().or_else(|| self.live_log());
            if let Some(log) = &self.log {
                match log.at(self.next).await {
                    Lookup::Event(event) => self.fetched.push_back(event),
                    Lookup::End => self.is_at_end = true,
                    Lookup::Gone => self.fetch().await,
                }
            } else {
                self.fetch().await;
            }
        }
    }

    /// The index of the event that comes next.
    pub fn position(&self) -> i32 {
        self.next
    }

    /// The number of events so far.
    pub async fn count(&self) -> Result<i32, sqlx::Error> {
        match self.live_log() {
            Some(log) => Ok(log.next_index()),
            None => store::count_events(&self.app.db, self.scope.tenant_id(), &self.session_id, self.seq).await,
        }
    }

    /// Whether `run` has ended and this reader is past its last event.
    pub async fn is_exhausted(&self, run: &Run) -> Result<bool, sqlx::Error> {
        if !run.status.is_final() || self.live_log().is_some() {
            return Ok(false);
        }
        let last = match store::count_events(&self.app.db, self.scope.tenant_id(), &self.session_id, self.seq).await? {
            0 => i32::try_from(tell(run.clone(), last_event(run)).len()).unwrap_or(i32::MAX) - 1,
            stored => stored,
        };
        Ok(self.next > last)
    }

    fn live_log(&self) -> Option<EventLog> {
        Registry::of(&self.app).get(self.run_id).map(|run| run.events.clone()).filter(EventLog::is_recording)
    }

    /// Reads the next events from the database. Once the run has ended, the last event is built from the run's row.
    async fn fetch(&mut self) {
        match self.read_stored().await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(run.id = %self.run_id, %error, "The events of a run cannot be read right now.");
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }

    async fn read_stored(&mut self) -> Result<(), sqlx::Error> {
        if self.read_events().await? {
            return Ok(());
        }
        let run = runs::store::find(&self.app.db, &self.scope, self.run_id).await?;
        // Read again: events that were stored before the run ended come before its last event.
        if self.read_events().await? {
            return Ok(());
        }
        match run {
            None => {
                let gone = EventKind::RunCancelled { reason: "The session was deleted.".into() };
                self.end_with(vec![gone], self.next);
            }
            Some(run) if run.status.is_final() => {
                let count =
                    store::count_events(&self.app.db, self.scope.tenant_id(), &self.session_id, self.seq).await?;
                let last = last_event(&run);
                // A run that recorded no events gets all of them, built from its row.
                let events = if count == 0 { tell(run, last) } else { vec![last] };
                self.end_with(events, count);
            }
            Some(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
        Ok(())
    }

    /// `false` if no further events are stored.
    async fn read_events(&mut self) -> Result<bool, sqlx::Error> {
        let (db, scope, session_id) = (&self.app.db, &self.scope, &self.session_id);
        let stored = store::events_from(db, scope, session_id, self.seq, self.next, self.batches).await?;
        self.batches = if stored.bytes < SMALL_BYTES { (self.batches * 2).min(MAX_BATCHES) } else { 1 };
        self.fetched.extend(stored.events.into_iter().map(Arc::new));
        Ok(!self.fetched.is_empty())
    }

    fn end_with(&mut self, events: Vec<EventKind>, first: i32) {
        let (next, at) = (self.next, clock::now());
        let told = (first..).zip(events).filter(|(index, _)| *index >= next);
        self.fetched.extend(told.map(|(index, kind)| Arc::new(Event { index, at, kind })));
        self.is_at_end = true;
    }
}

fn tell(run: Run, last: EventKind) -> Vec<EventKind> {
    let model = run.model.unwrap_or_else(|| ModelInfo { id: String::new(), provider: String::new() });
    let mut events = vec![EventKind::RunStarted { model }];
    if let Some(content) = run.content.filter(|content| !content.is_empty()) {
        events.push(EventKind::RunContent { delta: content });
        events.push(EventKind::RunContentCompleted);
    }
    events.push(last);
    events
}

/// The last event of a run that has ended.
fn last_event(run: &Run) -> EventKind {
    let error = run.error.clone();
    match run.status {
        RunStatus::Cancelled => EventKind::RunCancelled {
            reason: error.map_or_else(|| "The run was cancelled.".into(), |error| error.message),
        },
        RunStatus::Error => EventKind::RunError {
            error: error.unwrap_or_else(|| RunError {
                kind: RunErrorKind::Interrupted,
                message: "The run ended without an answer.".into(),
            }),
        },
        _ => EventKind::RunCompleted {
            completion: Box::new(Completion {
                content: run.content.clone().unwrap_or_default(),
                model_provider_data: None,
                session_state: run.session_state.clone().unwrap_or_default(),
                metrics: run.metrics.clone(),
                metadata: run.metadata.clone(),
            }),
        },
    }
}
