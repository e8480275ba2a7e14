//! What an operator can set: built-in defaults < `colloquy.toml` < `COLLOQUY_*` environment < command line.
//!
//! [`Settings::load`] reads and checks everything before anything starts. A refused setting is answered with its key,
//! its value and what to do. `colloquy.example.toml` shows every setting with its default.
//!
//! *Architecture Invariant:* no other file reads the environment, except `llm::credentials` for the keys that
//! `api_key_env` names. The one secret in [`Settings`] that is no URL is of a type that does not print itself.

mod check;
mod embeddings;
mod history;
mod load;
mod remembering;
mod serving;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use serde::Deserialize;

pub use embeddings::{EmbeddingProvider, EmbeddingSettings, NO_ONNX, Pooling};
pub use history::{HistoryOverrides, HistorySettings, SummarySettings};
pub use load::Overrides;
pub use remembering::{AgentMemorySettings, MemorySettings, SearchSettings, SearchWeights};

/// How many runs of history a prompt may hold at most, whether an agent's settings or a run asks for them.
pub const MAX_HISTORY_RUNS: u32 = 1_000;

/// In `server.cors_origins`: pages that are served from this machine, at any port.
pub const LOCALHOST: &str = "localhost";

/// Everything that can be set, after defaults, file, environment and command line have been laid over each other.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub server: ServerSettings,
    pub database: DatabaseSettings,
    pub runs: RunSettings,
    pub jobs: JobSettings,
    pub webhooks: WebhookSettings,
    pub search: SearchSettings,
    pub sessions: SessionSettings,
    pub retention: RetentionSettings,
    pub history: HistorySettings,
    pub memories: MemorySettings,
    /// Models by the name that agents call them by.
    pub models: BTreeMap<String, ModelSettings>,
    pub agents: Vec<AgentSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    pub bind: SocketAddr,
    /// The name of this installation on the wire (`os_id`).
    pub id: String,
    /// Largest request body, in bytes; a larger one is answered with 413.
    pub max_body_bytes: usize,
    /// Limit for every request that runs no model, and for the body of any request.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long a stopping server waits for running runs to settle.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Browser origins that may call the API; `localhost` stands for every port of this machine, `*` for all.
    pub cors_origins: Vec<String>,
    /// Names by which this server is asked, beside localhost and its own addresses; `*.example.com` stands for every name
    /// below it, `*` for all.
    pub allowed_hosts: Vec<String>,
    /// Connections at a time; one more is answered with 503.
    pub max_connections: usize,
    /// How long the head of a request may take, from its first byte on.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a client may take nothing of its answer.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)),
            id: "colloquy".into(),
            max_body_bytes: 4 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(20),
            cors_origins: vec![LOCALHOST.into()],
            allowed_hosts: Vec::new(),
            max_connections: 4096,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_mins(1),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// A PostgreSQL to use; absent, a private one is started in `data_dir`.
    pub url: Option<String>,
    /// PostgreSQL's own address, where `url` leads to a pooler: for migrations, LISTEN and the job queue. Absent: `url`.
    pub direct_url: Option<String>,
    /// The schema that holds everything, made if need be; absent: the first one of the search path.
    pub schema: Option<String>,
    /// Where the embedded PostgreSQL keeps its files.
    pub data_dir: PathBuf,
    pub max_connections: u32,
    /// How long to wait at start for a database that is still coming up.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a request waits for a free connection before it is answered with 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            direct_url: None,
            schema: None,
            data_dir: PathBuf::from("colloquy-data"),
            max_connections: 16,
            connect_timeout: Duration::from_secs(30),
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

/// How runs are queued, bounded and recovered.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// After this long without a sign of life a process counts as dead, and its runs are ended or taken up by others.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long a run may take from its start to its end.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How long a request waits for its session's turn; then 503, and its run is cancelled.
    #[serde(with = "humantime_serde")]
    pub queue_timeout: Duration,
    /// Runs of one session that may wait for their turn; the next is answered with 429.
    pub max_waiting_per_session: u32,
    /// Runs with a waiting client, in this process, running or waiting; the next is answered with 503.
    pub max_in_process: usize,
    /// The same of one user; the next is answered with 429.
    pub max_per_user: usize,
    /// Background runs that this process executes at a time; 0: it leaves them to others.
    pub background_concurrency: usize,
    /// Background runs that may wait, on all processes together; the next is answered with 429.
    pub max_background_waiting: u32,
    /// The same of one user, and of all runs without a `user_id` together; the next is answered with 429.
    pub max_queued_per_user: u32,
    /// How often a background run is begun, when processes die under it.
    pub max_attempts: u16,
    /// A longer answer ends its run with an error; what was said so far is kept.
    pub max_answer_bytes: usize,
    /// How long the events of a stream can be picked up again.
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

/// Who does the background work.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// Jobs that this process does at a time; 0: it leaves them to others.
    pub workers: u32,
    /// How often an idle worker looks for work that it was not told of.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// How long background work leaves a model alone that has failed several times in a row, at first; doubled up to
    /// five times.
    #[serde(with = "humantime_serde")]
    pub model_pause: Duration,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self { workers: 4, poll_interval: Duration::from_secs(2), model_pause: Duration::from_secs(30) }
    }
}

/// How the end of a run is told to whoever asked for it with `webhook_url`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// The key of the signatures, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in base64. Absent:
    /// `webhook_url` is refused.
    pub secret: Option<SecretString>,
    /// Whether a webhook may go to this machine or a private network.
    pub allow_private: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// Largest state of a session, and largest metadata, in bytes of JSON.
    pub max_state_bytes: usize,
    /// Largest session that may be imported, in bytes of its export; absent: of any size.
    pub max_import_bytes: Option<u64>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { max_state_bytes: 256 * 1024, max_import_bytes: None }
    }
}

/// When what was kept is removed by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// How long after its last activity a session that is not pinned is removed; absent: never.
    #[serde(with = "humantime_serde")]
    pub sessions_after: Option<Duration>,
}

/// Which API a model is called with.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Provider {
    /// OpenAI, and with `base_url` anything that speaks its chat completions API.
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
    /// The built-in rule-based responder: no network, no key.
    Offline,
}

impl TryFrom<String> for Provider {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            "gemini" => Ok(Self::Gemini),
            "ollama" => Ok(Self::Ollama),
            "offline" => Ok(Self::Offline),
            _ => Err(format!("\"{name}\" is none of openai, anthropic, gemini, ollama and offline")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    pub provider: Provider,
    /// The provider's name for the model, for example `gpt-4o-mini`. The offline responder needs none.
    #[serde(default)]
    pub id: String,
    /// Another endpoint than the provider's own, for example `http://127.0.0.1:9099/v1`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The environment variable that holds the key; absent, the provider's usual one.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Limit for one call: the whole answer, or in a stream each wait for the next piece.
    #[serde(default = "ModelSettings::default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// How often a call is repeated after 408, 429, 5xx or a failed connection.
    #[serde(default = "ModelSettings::default_max_retries")]
    pub max_retries: u32,
    /// Names of other models, tried in order when this one fails.
    #[serde(default)]
    pub fallbacks: Vec<String>,
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Limit for one answer, in tokens.
    #[serde(default)]
    pub max_tokens: Option<u32>,
}

impl ModelSettings {
    fn default_timeout() -> Duration {
        Duration::from_mins(2)
    }

    fn default_max_retries() -> u32 {
        2
    }

    /// A model of `provider` with the default limits.
    pub fn new(provider: Provider, id: impl Into<String>) -> Self {
        Self {
            provider,
            id: id.into(),
            base_url: None,
            api_key_env: None,
            timeout: Self::default_timeout(),
            max_retries: Self::default_max_retries(),
            fallbacks: Vec::new(),
            temperature: None,
            max_tokens: None,
        }
    }
}

/// One agent. The switches carry the names that Agno users know.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the settings file")]
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The path segment in `/agents/{id}`.
    pub id: String,
    /// For people; absent, the id.
    pub name: Option<String>,
    pub description: Option<String>,
    /// What the model is told to be and do.
    pub instructions: Option<String>,
    /// A name from `[models]`; absent, the only model, or the one that was found at start.
    pub model: Option<String>,
    /// The session of runs that name none. Absent: each begins a new one.
    pub session_id: Option<String>,
    pub add_history_to_context: bool,
    /// How many finished runs of the session go into the context.
    pub num_history_runs: u32,
    /// Instead of `[history]`, each limit by itself.
    pub history: HistoryOverrides,
    /// Keeps a rolling summary of each session.
    pub enable_session_summaries: bool,
    /// The history then is what comes after the summary. Absent: as `enable_session_summaries`.
    pub add_session_summary_to_context: Option<bool>,
    pub session_summary: SummarySettings,
    /// Lets the model find a name for a session that has none from its user.
    pub auto_title: bool,
    pub update_memory_on_run: bool,
    /// Absent: as `update_memory_on_run` or `enable_agentic_memory`.
    pub add_memories_to_context: Option<bool>,
    /// Gives the model the tools `search_memories`, `remember` and `forget`; memories are then not updated by
    /// `update_memory_on_run`.
    pub enable_agentic_memory: bool,
    /// Gives the model the tool `search_past_sessions`.
    pub search_past_sessions: bool,
    /// What is learned of users, and by which model.
    pub memory: AgentMemorySettings,
    /// The state that a new session begins with.
    pub session_state: serde_json::Map<String, serde_json::Value>,
    pub add_session_state_to_context: bool,
    /// Gives the model the tool `update_session_state`.
    pub enable_agentic_state: bool,
    /// Gives the model the tool `get_chat_history`.
    pub read_chat_history: bool,
    /// How many tool calls one run may make before the model has to answer.
    pub tool_call_limit: u32,
    /// For the sessions that began with this agent; absent: as `[retention]`.
    pub retention: Option<RetentionSettings>,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: None,
            description: None,
            instructions: None,
            model: None,
            session_id: None,
            add_history_to_context: true,
            num_history_runs: 3,
            history: HistoryOverrides::default(),
            enable_session_summaries: false,
            add_session_summary_to_context: None,
            session_summary: SummarySettings::default(),
            auto_title: false,
            update_memory_on_run: false,
            add_memories_to_context: None,
            enable_agentic_memory: false,
            search_past_sessions: false,
            memory: AgentMemorySettings::default(),
            session_state: serde_json::Map::new(),
            add_session_state_to_context: false,
            enable_agentic_state: false,
            read_chat_history: false,
            tool_call_limit: 20,
            retention: None,
        }
    }
}
