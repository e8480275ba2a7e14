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

/// How much that is stored is kept for readers that are nearly up to date. A reader that takes nothing keeps its log.
const KEPT_BYTES: usize = 32 * 1024;
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
    /// Of all events that are here.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    next: i32,
    is_closed: bool,
    /// Whether another log goes on where this one is closed.
    is_handed_on: bool,
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
        let progress = Progress { next: first, is_closed: false, is_handed_on: false, wants_flush: false };
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
        inner.bytes += event.data.len();
        inner.events.push_back(event);
        let (next, wants_flush) = (inner.next, inner.unstored_bytes > FLUSH_BYTES);
        drop(inner);
        log.progress.send_modify(|progress| *progress = Progress { next, wants_flush, ..*progress });
    }

    /// No more events will come here: the run goes on elsewhere, and its readers in the database.
    pub fn hand_on(&self) {
        if let Some(log) = &self.0 {
            log.progress.send_modify(|progress| (progress.is_closed, progress.is_handed_on) = (true, true));
        }
    }

    /// No more events will come. Where all but the last are stored, that one counts as stored too: it is the run itself.
    pub fn close(&self) {
        if let Some(log) = &self.0 {
            let mut inner = log.lock();
            if inner.stored + 1 == inner.next {
                (inner.stored, inner.unstored_bytes) = (inner.next, 0);
                inner.drop_stored();
            }
            drop(inner);
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
        inner.drop_stored();
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
        let Ok(reached) = progress.wait_for(|progress| progress.next > index || progress.is_closed).await else {
            return Found::End;
        };
        let is_handed_on = reached.is_handed_on;
        drop(reached);
        let inner = log.lock();
        if inner.next <= index {
            return if is_handed_on { Found::Gone } else { Found::End };
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

impl Inner {
    /// Drops what is stored and more than is kept, the oldest first.
    fn drop_stored(&mut self) {
        while self.bytes > self.unstored_bytes.saturating_add(KEPT_BYTES)
            && let Some(event) = self.events.pop_front_if(|event| event.index < self.stored)
        {
            self.bytes -= event.data.len();
        }
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
    async fn what_is_kept_for_readers_is_bounded_in_bytes_however_large_events_are() {
        let log = EventLog::recording(EventSource::sample(), 0);
        let size = || log.0.as_ref().unwrap().lock().events.iter().map(|event| event.data.len()).sum::<usize>();
        for length in [10, 5_000, 40_000, 10] {
            for _ in 0..100 {
                log.push(&content(&"x".repeat(length)));
            }
            log.note_stored(&log.unstored());
            assert!(size() <= KEPT_BYTES, "{} of {length} each", size());
        }
        // The end of a run tells its whole answer once more.
        log.push(&content(&"x".repeat(400_000)));
        let last = log.next_index() - 1;
        assert!(matches!(log.at(last).await, Found::Event(_)));
        log.close();
        assert_eq!(size(), 0);
        assert!(matches!(log.at(last).await, Found::Gone));
        assert!(matches!(log.at(last + 1).await, Found::End));
    }

    #[tokio::test]
    async fn what_is_not_stored_is_kept_when_the_log_is_closed() {
        let log = EventLog::recording(EventSource::sample(), 0);
        log.push(&content(&"x".repeat(400_000)));
        log.push(&content(&"x".repeat(400_000)));
        log.close();
        assert_eq!(name_at(&log, 0).await.as_deref(), Some("RunContent"));
        assert_eq!(name_at(&log, 1).await.as_deref(), Some("RunContent"));
    }

    #[tokio::test]
    async fn a_log_that_nobody_reads_costs_nothing() {
        let log = EventLog::default();
        log.push(&content("x"));
        assert!(log.unstored().names.is_empty());
        assert!(!log.wants_flush().await);
    }
}
