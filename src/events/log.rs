//! The live events of one run of this process.
//!
//! A run appends to its [`EventLog`]. Readers come and go, follow at their own pace, and never slow down the run. A
//! limited amount of stored events is kept in memory for readers that are nearly up to date; a reader that has fallen
//! behind reads from the database.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{Event, EventBatch, EventKind, store};
use crate::clock;

/// Stored events to keep for readers that are nearly up to date. A stalled reader keeps the whole log in memory.
const KEPT_BYTES: usize = 32 * 1024;
/// Unstored events of more than this are flushed early.
const FLUSH_BYTES: usize = 64 * 1024;

/// The events of one run, and a way to wait for more. The default records nothing and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Option<Arc<Log>>);

#[derive(Debug)]
struct Log {
    /// The index of the first event. Events below it belong to earlier attempts and are void.
    first: i32,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Logged>,
    /// The index of the next event.
    next: i32,
    /// Events before this index are stored.
    stored: i32,
    unstored_bytes: usize,
    /// The size of all events in memory.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    next: i32,
    is_closed: bool,
    /// Whether the run continues in another log after this one is closed.
    is_handed_on: bool,
    wants_flush: bool,
}

/// An event and its stored form, which is serialized once, when the event happens.
#[derive(Debug)]
struct Logged {
    event: Arc<Event>,
    stored: String,
}

/// What a reader finds at an index.
#[derive(Debug)]
pub enum Lookup {
    Event(Arc<Event>),
    /// No longer in memory: only the database has it.
    Gone,
    /// The log is closed and read to its end.
    End,
}

impl EventLog {
    /// A log for readers, now or later. `first` is the index of its first event.
    pub fn recording(first: i32) -> Self {
        let progress = Progress { next: first, is_closed: false, is_handed_on: false, wants_flush: false };
        let inner = Inner { next: first, stored: first, ..Inner::default() };
        Self(Some(Arc::new(Log { first, inner: Mutex::new(inner), progress: watch::Sender::new(progress) })))
    }

    /// Whether there may ever be readers.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Makes the event only if there may be readers.
    pub fn push_with(&self, kind: impl FnOnce() -> EventKind) {
        if self.is_recording() {
            self.push(kind());
        }
    }

    pub fn push(&self, kind: EventKind) {
        let Some(log) = &self.0 else { return };
        let at = clock::now();
        let stored = store::write(at, &kind);
        let mut inner = log.lock();
        let event = Arc::new(Event { index: inner.next, at, kind });
        inner.next += 1;
        inner.unstored_bytes += stored.len();
        inner.bytes += stored.len();
        inner.events.push_back(Logged { event, stored });
        let (next, wants_flush) = (inner.next, inner.unstored_bytes > FLUSH_BYTES);
        drop(inner);
        log.progress.send_modify(|progress| *progress = Progress { next, wants_flush, ..*progress });
    }

    /// Closes the log of a run that continues elsewhere: its readers go on in the database.
    pub fn hand_on(&self) {
        if let Some(log) = &self.0 {
            log.progress.send_modify(|progress| (progress.is_closed, progress.is_handed_on) = (true, true));
        }
    }

    /// Closes the log. If all but the last event are stored, that one counts as stored too: it is the run's row.
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

    /// The events that are not stored yet.
    pub fn unstored(&self) -> EventBatch {
        let Some(log) = &self.0 else { return EventBatch::default() };
        let inner = log.lock();
        let unstored = inner.events.iter().filter(|logged| logged.event.index >= inner.stored);
        let (names, data) = unstored.map(|logged| (logged.event.kind.name().to_owned(), logged.stored.clone())).unzip();
        EventBatch { first_index: inner.stored, names, data }
    }

    /// Marks `batch` as stored, and drops the oldest stored events beyond the limit.
    pub fn note_stored(&self, batch: &EventBatch) {
        let Some(log) = &self.0 else { return };
        let mut inner = log.lock();
        let count = i32::try_from(batch.names.len()).unwrap_or(i32::MAX);
        inner.stored = inner.stored.max(batch.first_index.saturating_add(count));
        let stored = inner.stored;
        inner.unstored_bytes =
            inner.events.iter().filter(|it| it.event.index >= stored).map(|it| it.stored.len()).sum();
        inner.drop_stored();
        let wants_flush = inner.unstored_bytes > FLUSH_BYTES;
        drop(inner);
        log.progress.send_modify(|progress| progress.wants_flush = wants_flush);
    }

    /// Waits until an early flush is due. `false` if the log was closed or records nothing.
    pub async fn wants_flush(&self) -> bool {
        let Some(log) = &self.0 else { return false };
        let mut progress = log.progress.subscribe();
        progress.wait_for(|progress| progress.wants_flush || progress.is_closed).await.is_ok_and(|it| !it.is_closed)
    }

    /// Waits for the event at `index`. If `index` belongs to an earlier attempt, that is the first event of this one.
    pub async fn at(&self, index: i32) -> Lookup {
        let Some(log) = &self.0 else { return Lookup::Gone };
        let index = index.max(log.first);
        let mut progress = log.progress.subscribe();
        let Ok(reached) = progress.wait_for(|progress| progress.next > index || progress.is_closed).await else {
            return Lookup::End;
        };
        let is_handed_on = reached.is_handed_on;
        drop(reached);
        let inner = log.lock();
        if inner.next <= index {
            return if is_handed_on { Lookup::Gone } else { Lookup::End };
        }
        let kept = i32::try_from(inner.events.len()).unwrap_or(i32::MAX);
        let place = usize::try_from(index - (inner.next - kept)).ok();
        place.and_then(|place| inner.events.get(place)).map_or(Lookup::Gone, |it| Lookup::Event(it.event.clone()))
    }

    /// The index of the next event.
    pub fn next_index(&self) -> i32 {
        self.0.as_ref().map_or(0, |log| log.lock().next)
    }
}

impl Inner {
    /// Drops stored events beyond [`KEPT_BYTES`], the oldest first.
    fn drop_stored(&mut self) {
        while self.bytes > self.unstored_bytes.saturating_add(KEPT_BYTES)
            && let Some(event) = self.events.pop_front_if(|it| it.event.index < self.stored)
        {
            self.bytes -= event.stored.len();
        }
    }
}

impl Log {
    /// Ignores poisoning: a panic while the lock was held cannot have left the list half written.
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

    async fn name_at(log: &EventLog, index: i32) -> Option<&'static str> {
        match log.at(index).await {
            Lookup::Event(event) => Some(event.kind.name()),
            Lookup::Gone | Lookup::End => None,
        }
    }

    #[tokio::test]
    async fn readers_come_late_go_early_and_see_the_same() {
        let log = EventLog::recording(0);
        log.push(EventKind::RunContentCompleted);
        assert_eq!(name_at(&log, 0).await, Some("run_content_completed"));
        log.push(content("x"));
        log.close();
        assert_eq!(name_at(&log, 0).await, Some("run_content_completed"));
        assert_eq!(name_at(&log, 1).await, Some("run_content"));
        assert!(matches!(log.at(2).await, Lookup::End));
    }

    #[tokio::test]
    async fn what_is_stored_is_dropped_as_the_log_grows() {
        let log = EventLog::recording(7);
        for _ in 0..2_000 {
            log.push(content("token"));
        }
        let batch = log.unstored();
        assert_eq!((batch.first_index, batch.names.len()), (7, 2_000));
        log.note_stored(&batch);
        assert!(log.unstored().names.is_empty());
        assert!(matches!(log.at(7).await, Lookup::Gone));
        assert_eq!(name_at(&log, 2_006).await, Some("run_content"));
    }

    #[tokio::test]
    async fn what_is_kept_for_readers_is_bounded_in_bytes_however_large_events_are() {
        let log = EventLog::recording(0);
        let size = || log.0.as_ref().unwrap().lock().events.iter().map(|it| it.stored.len()).sum::<usize>();
        for length in [10, 5_000, 40_000, 10] {
            for _ in 0..100 {
                log.push(content(&"x".repeat(length)));
            }
            log.note_stored(&log.unstored());
            assert!(size() <= KEPT_BYTES, "{} of {length} each", size());
        }
        // The last event of a run contains the whole answer again.
        log.push(content(&"x".repeat(400_000)));
        let last = log.next_index() - 1;
        assert!(matches!(log.at(last).await, Lookup::Event(_)));
        log.close();
        assert_eq!(size(), 0);
        assert!(matches!(log.at(last).await, Lookup::Gone));
        assert!(matches!(log.at(last + 1).await, Lookup::End));
    }

    #[tokio::test]
    async fn what_is_not_stored_is_kept_when_the_log_is_closed() {
        let log = EventLog::recording(0);
        log.push(content(&"x".repeat(400_000)));
        log.push(content(&"x".repeat(400_000)));
        log.close();
        assert_eq!(name_at(&log, 0).await, Some("run_content"));
        assert_eq!(name_at(&log, 1).await, Some("run_content"));
    }

    #[tokio::test]
    async fn a_log_that_nobody_reads_costs_nothing() {
        let log = EventLog::default();
        log.push(content("x"));
        assert!(log.unstored().names.is_empty());
        assert!(!log.wants_flush().await);
    }
}
