//! What happens in a run, in order, for whoever listens.
//!
//! A run writes into its [`EventLog`]; readers follow at their own pace, come and go, and never slow the run. Events are
//! encoded once, when they happen. What has been stored is kept here for readers that are nearly up to date, and
//! dropped as it grows: a reader that has fallen behind reads from the database (`following`).

use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

use super::{
    encode::{self, EventSource},
    model::{RunError, RunMetrics},
    store::EventBatch,
    wire::ToolExecution,
};
use crate::{
    clock,
    llm::{ModelInfo, Usage},
    memories::wire::UpdatedMemory,
    sessions::summary::SessionSummary,
};

/// What happened; the variants are the wire's event names.
#[derive(Clone, Debug)]
pub enum EventKind {
    RunStarted(ModelInfo),
    /// Another process has taken the run up; what was said so far is said anew.
    RunContinued,
    ModelRequestStarted(ModelInfo),
    RunContent {
        delta: String,
    },
    ModelRequestCompleted {
        model: ModelInfo,
        usage: Usage,
        time_to_first_token: f64,
    },
    ToolCallStarted(Box<ToolExecution>),
    ToolCallCompleted {
        tool: Box<ToolExecution>,
        content: String,
    },
    ToolCallError {
        tool: Box<ToolExecution>,
        error: String,
    },
    RunContentCompleted,
    SessionSummaryStarted,
    /// Without a summary where the session has none.
    SessionSummaryCompleted(Option<Box<SessionSummary>>),
    MemoryUpdateStarted,
    /// All that is known of the user now.
    MemoryUpdateCompleted {
        memories: Vec<UpdatedMemory>,
    },
    RunError(RunError),
    RunCancelled {
        reason: String,
    },
    RunCompleted(Box<Completion>),
}

/// What `RunCompleted` says.
#[derive(Clone, Debug, Serialize)]
pub struct Completion {
    pub content: String,
    pub content_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_provider_data: Option<Value>,
    pub session_state: Map<String, Value>,
    pub metrics: RunMetrics,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// An event as it goes out.
#[derive(Clone, Debug)]
pub struct EncodedEvent {
    pub index: i32,
    pub name: Arc<str>,
    /// One line of JSON.
    pub data: Arc<str>,
}

/// How many stored events are kept for readers that are nearly up to date.
const KEPT: usize = 512;
/// So much that is not stored yet is worth storing before its time.
const FLUSH_BYTES: usize = 64 * 1024;

/// The events of one run, and a way to wait for more. One that records nothing costs nothing.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Option<Arc<Log>>);

#[derive(Debug)]
struct Log {
    source: EventSource,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<EncodedEvent>,
    /// The index of the next event.
    next: i32,
    /// Events before this index are stored.
    stored: i32,
    unstored_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    next: i32,
    is_closed: bool,
    wants_flush: bool,
}

/// What a reader finds at an index.
#[derive(Debug)]
pub enum Found {
    Event(EncodedEvent),
    /// Only the database has it any more.
    Gone,
    /// The log is closed and read to its end.
    End,
}

impl EventLog {
    /// A log for somebody who listens, now or later. `first` is the index of its first event.
    pub fn recording(source: EventSource, first: i32) -> Self {
        let progress = Progress { next: first, is_closed: false, wants_flush: false };
        let inner = Inner { next: first, stored: first, ..Inner::default() };
        Self(Some(Arc::new(Log { source, inner: Mutex::new(inner), progress: watch::Sender::new(progress) })))
    }

    /// Whether anybody may ever listen.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    pub fn push(&self, kind: &EventKind) {
        let Some(log) = &self.0 else { return };
        let mut inner = log.lock();
        let event = encode::event(&log.source, inner.next, kind, clock::now());
        inner.next += 1;
        inner.unstored_bytes += event.data.len();
        inner.events.push_back(event);
        let (next, wants_flush) = (inner.next, inner.unstored_bytes > FLUSH_BYTES);
        drop(inner);
        log.progress.send_modify(|progress| *progress = Progress { next, wants_flush, ..*progress });
    }

    /// No more events will come.
    pub fn close(&self) {
        if let Some(log) = &self.0 {
            log.progress.send_modify(|progress| progress.is_closed = true);
        }
    }

    /// What is not stored yet.
    pub fn unstored(&self) -> EventBatch {
        let Some(log) = &self.0 else { return EventBatch::default() };
        let inner = log.lock();
        let events = inner.events.iter().filter(|event| event.index >= inner.stored);
        let (names, data) = events.map(|event| (event.name.to_string(), event.data.to_string())).unzip();
        EventBatch { first_index: inner.stored, names, data }
    }

    /// Takes notice that `batch` is stored, and drops what few readers will ask for here.
    pub fn note_stored(&self, batch: &EventBatch) {
        let Some(log) = &self.0 else { return };
        let mut inner = log.lock();
        let count = i32::try_from(batch.names.len()).unwrap_or(i32::MAX);
        inner.stored = inner.stored.max(batch.first_index.saturating_add(count));
        let stored = inner.stored;
        inner.unstored_bytes =
            inner.events.iter().filter(|event| event.index >= stored).map(|event| event.data.len()).sum();
        while inner.events.len() > KEPT && inner.events.front().is_some_and(|event| event.index < stored) {
            inner.events.pop_front();
        }
        let wants_flush = inner.unstored_bytes > FLUSH_BYTES;
        drop(inner);
        log.progress.send_modify(|progress| progress.wants_flush = wants_flush);
    }

    /// Waits until so much has happened that it should be stored, or until the log is closed: then `false`.
    pub async fn wants_flush(&self) -> bool {
        let Some(log) = &self.0 else { return false };
        let mut progress = log.progress.subscribe();
        progress.wait_for(|progress| progress.wants_flush || progress.is_closed).await.is_ok_and(|it| !it.is_closed)
    }

    /// The event at `index`, as soon as there is one.
    pub async fn at(&self, index: i32) -> Found {
        let Some(log) = &self.0 else { return Found::Gone };
        let mut progress = log.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.next > index || progress.is_closed).await;
        if reached.is_err() {
            return Found::End;
        }
        drop(reached);
        let inner = log.lock();
        if inner.next <= index {
            return Found::End;
        }
        let kept = i32::try_from(inner.events.len()).unwrap_or(i32::MAX);
        let place = usize::try_from(index - (inner.next - kept)).ok();
        place.and_then(|place| inner.events.get(place)).map_or(Found::Gone, |event| Found::Event(event.clone()))
    }

    /// The index of the next event.
    pub fn next_index(&self) -> i32 {
        self.0.as_ref().map_or(0, |log| log.lock().next)
    }
}

impl Log {
    /// A panic while the lock was held cannot have left the list half written.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(delta: &str) -> EventKind {
        EventKind::RunContent { delta: delta.into() }
    }

    async fn name_at(log: &EventLog, index: i32) -> Option<String> {
        match log.at(index).await {
            Found::Event(event) => Some(event.name.to_string()),
            Found::Gone | Found::End => None,
        }
    }

    #[tokio::test]
    async fn readers_come_late_go_early_and_see_the_same() {
        let log = EventLog::recording(EventSource::sample(), 0);
        log.push(&EventKind::RunContentCompleted);
        assert_eq!(name_at(&log, 0).await.as_deref(), Some("RunContentCompleted"));
        log.push(&content("x"));
        log.close();
        assert_eq!(name_at(&log, 0).await.as_deref(), Some("RunContentCompleted"));
        assert_eq!(name_at(&log, 1).await.as_deref(), Some("RunContent"));
        assert!(matches!(log.at(2).await, Found::End));
    }

    #[tokio::test]
    async fn what_is_stored_is_dropped_as_the_log_grows() {
        let log = EventLog::recording(EventSource::sample(), 7);
        for _ in 0..2_000 {
            log.push(&content("token"));
        }
        let batch = log.unstored();
        assert_eq!((batch.first_index, batch.names.len()), (7, 2_000));
        log.note_stored(&batch);
        assert!(log.unstored().names.is_empty());
        assert!(matches!(log.at(7).await, Found::Gone));
        assert_eq!(name_at(&log, 2_006).await.as_deref(), Some("RunContent"));
    }

    #[tokio::test]
    async fn a_log_that_nobody_reads_costs_nothing() {
        let log = EventLog::default();
        log.push(&content("x"));
        assert!(log.unstored().names.is_empty());
        assert!(!log.wants_flush().await);
    }
}
