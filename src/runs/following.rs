//! Readers of a run's events: of the live log where the run is executed, of the database anywhere else.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    encode::{self, EventSource},
    events::{Completion, EncodedEvent, EventKind, EventLog, Found},
    model::{Run, RunError, RunErrorKind, RunId, RunStatus},
    store,
};
use crate::{app::App, auth::Scope, clock, llm::ModelInfo, sessions::SessionId};

/// How often the database is asked for more of a run that another process executes.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How many batches of stored events are read at once. A reader that takes nothing keeps what was read for it.
const MAX_BATCHES: i64 = 8;
/// More of them are read at once while those before had fewer bytes than this.
const SMALL_BYTES: usize = 32 * 1024;

/// Reads the events of one run, from any index, while it is running and afterwards.
#[derive(Debug)]
pub struct Follower {
    app: Arc<App>,
    scope: Scope,
    source: EventSource,
    session_id: SessionId,
    seq: i64,
    run_id: RunId,
    log: Option<EventLog>,
    next: i32,
    fetched: VecDeque<EncodedEvent>,
    batches: i64,
    is_at_end: bool,
}

impl Follower {
    /// Follows the run `seq` of the source's session from the event at `next` on: in `log`, if it is executed here.
    pub fn new(app: &Arc<App>, scope: Scope, seq: i64, source: EventSource, log: Option<EventLog>, next: i32) -> Self {
        Self {
            app: app.clone(),
            scope,
            session_id: source.session_id.clone(),
            seq,
            run_id: source.run_id,
            source,
            log: log.filter(EventLog::is_recording),
            next,
            fetched: VecDeque::new(),
            batches: 1,
            is_at_end: false,
        }
    }

    /// The next event; `None` after the last one. Where the database is away, it waits for it.
    pub async fn next(&mut self) -> Option<EncodedEvent> {
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
                    Found::Event(event) => self.fetched.push_back(event),
                    Found::End => self.is_at_end = true,
                    Found::Gone => self.fetch().await,
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

    /// How many events there are by now.
    pub async fn count(&self) -> Result<i32, sqlx::Error> {
        match self.live_log() {
            Some(log) => Ok(log.next_index()),
            None => store::count_events(&self.app.db, &self.session_id, self.seq).await,
        }
    }

    /// Whether `run` has ended and all that is told of it has been heard.
    pub async fn is_exhausted(&self, run: &Run) -> Result<bool, sqlx::Error> {
        if !run.status.is_final() || self.live_log().is_some() {
            return Ok(false);
        }
        let last = match store::count_events(&self.app.db, &self.session_id, self.seq).await? {
            0 => i32::try_from(tell(run.clone(), last_event(run)).len()).unwrap_or(i32::MAX) - 1,
            stored => stored,
        };
        Ok(self.next > last)
    }

    fn live_log(&self) -> Option<EventLog> {
        self.app.runs.get(self.run_id).map(|run| run.events.clone()).filter(EventLog::is_recording)
    }

    /// Reads on in the database; once the run has ended, also its last event, which is the run itself.
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
        let run = store::find(&self.app.db, &self.scope, self.run_id).await?;
        // What was stored before the run had ended comes before its end.
        if self.read_events().await? {
            return Ok(());
        }
        match run {
            None => {
                let gone = EventKind::RunCancelled { reason: "The session was deleted.".into() };
                self.end_with(vec![gone], self.next);
            }
            Some(run) if run.status.is_final() => {
                let count = store::count_events(&self.app.db, &self.session_id, self.seq).await?;
                let last = last_event(&run);
                // A run that nobody was expected to listen to is told from its beginning.
                let events = if count == 0 { tell(run, last) } else { vec![last] };
                self.end_with(events, count);
            }
            Some(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
        Ok(())
    }

    /// `false`: none are stored beyond those that are known.
    async fn read_events(&mut self) -> Result<bool, sqlx::Error> {
        let (db, scope, session_id) = (&self.app.db, &self.scope, &self.session_id);
        let stored = store::events_from(db, scope, session_id, self.seq, self.next, self.batches).await?;
        let bytes: usize = stored.iter().map(|event| event.data.len()).sum();
        self.batches = if bytes < SMALL_BYTES { (self.batches * 2).min(MAX_BATCHES) } else { 1 };
        self.fetched.extend(stored);
        Ok(!self.fetched.is_empty())
    }

    fn end_with(&mut self, events: Vec<EventKind>, first: i32) {
        let encoded =
            (first..).zip(&events).map(|(index, kind)| encode::event(&self.source, index, kind, clock::now()));
        let next = self.next;
        self.fetched.extend(encoded.filter(|event| event.index >= next));
        self.is_at_end = true;
    }
}

fn tell(run: Run, last: EventKind) -> Vec<EventKind> {
    let model = run.model.unwrap_or_else(|| ModelInfo { id: String::new(), provider: String::new() });
    let mut events = vec![EventKind::RunStarted(model)];
    if let Some(content) = run.content.filter(|content| !content.is_empty()) {
        events.push(EventKind::RunContent { delta: content });
        events.push(EventKind::RunContentCompleted);
    }
    events.push(last);
    events
}

/// What the last event of a run that has ended says.
fn last_event(run: &Run) -> EventKind {
    let error = run.error.clone();
    match run.status {
        RunStatus::Cancelled => EventKind::RunCancelled {
            reason: error.map_or_else(|| "The run was cancelled.".into(), |error| error.message),
        },
        RunStatus::Error => EventKind::RunError(error.unwrap_or_else(|| RunError {
            kind: RunErrorKind::Interrupted,
            message: "The run ended without an answer.".into(),
        })),
        _ => EventKind::RunCompleted(Box::new(Completion {
            content: run.content.clone().unwrap_or_default(),
            content_type: "str",
            model_provider_data: None,
            session_state: run.session_state.clone().unwrap_or_default(),
            metrics: run.metrics.clone(),
            metadata: run.metadata.clone(),
        })),
    }
}
