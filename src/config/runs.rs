//! Limits of runs and of background work.

use std::time::Duration;

use serde::Deserialize;

/// How runs are queued, bounded and recovered.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// Lease of a process. After this long without a heartbeat it counts as dead: its runs are ended, or taken over by
    /// other processes.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Maximum duration of a run, from its start to its end; then it ends with an error.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How long a request waits for its turn in the session. Then it gets 503, and its run is cancelled.
    #[serde(with = "humantime_serde")]
    pub queue_timeout: Duration,
    /// Maximum number of waiting runs per session; the next one gets 429.
    pub max_waiting_per_session: u32,
    /// Maximum number of runs with a waiting client in this process, running or queued; the next one gets 503.
    pub max_in_process: usize,
    /// The same per user; the next one gets 429.
    pub max_per_user: usize,
    /// How many background runs this process executes at a time. 0: it leaves them to other processes.
    pub background_concurrency: usize,
    /// Maximum number of waiting background runs, over all processes; the next one gets 429.
    pub max_background_waiting: u32,
    /// The same per user; all runs without a `user_id` count as one user. The next one gets 429.
    pub max_queued_per_user: u32,
    /// Maximum number of attempts of a background run, if its process dies.
    pub max_attempts: u16,
    /// Maximum length of an answer. A longer one ends its run with an error; the text up to the limit is kept.
    pub max_answer_bytes: usize,
    /// How long the events of a run are kept, so that its stream can be resumed.
    #[serde(with = "humantime_serde")]
    pub keep_events: Duration,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            deadline: Duration::from_mins(10),
            queue_timeout: Duration::from_mins(1),
            max_waiting_per_session: 100,
            max_in_process: 2_000,
            max_per_user: 200,
            background_concurrency: 16,
            max_background_waiting: 10_000,
            max_queued_per_user: 1_000,
            max_attempts: 3,
            max_answer_bytes: 2 * 1024 * 1024,
            keep_events: Duration::from_hours(24),
        }
    }
}

/// How background jobs are executed.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// How many jobs this process executes at a time. 0: it leaves them to other processes.
    pub workers: u32,
    /// How often an idle worker polls for jobs that it was not notified of.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// The first pause of the circuit breaker: after several failures in a row, background work does not call the model
    /// for this long. Doubled up to five times.
    #[serde(with = "humantime_serde")]
    pub model_pause: Duration,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self { workers: 4, poll_interval: Duration::from_secs(2), model_pause: Duration::from_secs(30) }
    }
}
