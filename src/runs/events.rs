//! What happens in a run, in order, for whoever listens.
//!
//! A run writes into its [`EventLog`]; readers follow at their own pace, come and go, and never slow the run: the log
//! grows by what the model says and is dropped with its last reader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    model::{RunError, RunMetrics},
    wire::ToolExecution,
};
use crate::llm::{ModelInfo, Usage};

/// One event of a run.
#[derive(Clone, Debug)]
pub struct RunEvent {
    pub created_at: DateTime<Utc>,
    pub kind: EventKind,
}

/// What happened; the variants are the wire's event names.
#[derive(Clone, Debug)]
pub enum EventKind {
    RunStarted(ModelInfo),
    ModelRequestStarted(ModelInfo),
    RunContent { delta: String },
    ModelRequestCompleted { model: ModelInfo, usage: Usage, time_to_first_token: f64 },
    ToolCallStarted(Box<ToolExecution>),
    ToolCallCompleted { tool: Box<ToolExecution>, content: String },
    ToolCallError { tool: Box<ToolExecution>, error: String },
    RunContentCompleted,
    RunError(RunError),
    RunCancelled { reason: String },
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

/// The events of one run so far, and a way to wait for more.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Arc<Log>);

#[derive(Debug, Default)]
struct Log {
    events: Mutex<Vec<Arc<RunEvent>>>,
    /// How many events there are, and whether the log is closed.
    progress: watch::Sender<(usize, bool)>,
}

impl EventLog {
    pub fn push(&self, kind: EventKind) {
        let mut events = self.lock();
        events.push(Arc::new(RunEvent { created_at: Utc::now(), kind }));
        let count = events.len();
        drop(events);
        self.0.progress.send_modify(|progress| progress.0 = count);
    }

    /// No more events will come.
    pub fn close(&self) {
        self.0.progress.send_modify(|progress| progress.1 = true);
    }

    /// A reader that begins with the event at `index`.
    pub fn read_from(&self, index: usize) -> EventReader {
        EventReader { log: self.clone(), next: index, progress: self.0.progress.subscribe() }
    }

    fn get(&self, index: usize) -> Option<Arc<RunEvent>> {
        self.lock().get(index).cloned()
    }

    /// A panic while the lock was held cannot have left the list half written.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<RunEvent>>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct EventReader {
    log: EventLog,
    next: usize,
    progress: watch::Receiver<(usize, bool)>,
}

impl EventReader {
    /// The next event and its index; `None` when the log is closed and read to its end.
    pub async fn next(&mut self) -> Option<(usize, Arc<RunEvent>)> {
        let next = self.next;
        let (count, _) = *self.progress.wait_for(|(count, closed)| *count > next || *closed).await.ok()?;
        if count <= next {
            return None;
        }
        self.next += 1;
        self.log.get(next).map(|event| (next, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_come_late_go_early_and_see_the_same() {
        let log = EventLog::default();
        log.push(EventKind::RunContentCompleted);
        drop(log.read_from(0));
        let mut reader = log.read_from(0);
        let mut late = log.read_from(1);
        log.push(EventKind::RunContent { delta: "x".into() });
        log.close();
        assert_eq!(reader.next().await.unwrap().0, 0);
        assert_eq!(reader.next().await.unwrap().0, 1);
        assert!(reader.next().await.is_none());
        assert_eq!(late.next().await.unwrap().0, 1);
        assert!(late.next().await.is_none());
    }
}
