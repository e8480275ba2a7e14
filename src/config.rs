//! Settings. Order of precedence: built-in defaults < `colloquy.toml` < `COLLOQUY_*` environment < command line.
//!
//! [`Settings::load`] reads and checks all settings before anything starts. The error for a refused setting contains
//! its key, its value and the remedy. `colloquy.example.toml` shows every setting with its default.
//!
//! *Architecture Invariant:* no other file reads settings from the environment, except `llm::credentials` for the keys
//! that `api_key_env` names, and `telemetry` for `RUST_LOG`. The only secret in [`Settings`] that is not a URL has a
//! type that redacts itself.

mod agents;
mod check;
mod database;
mod embeddings;
mod history;
mod load;
mod models;
mod remembering;
mod runs;
mod schema;
mod server;
mod sessions;
mod webhooks;

use std::collections::BTreeMap;

use serde::Deserialize;

#[cfg(not(feature = "onnx"))]
pub use self::embeddings::NO_ONNX;
#[cfg(feature = "onnx")]
pub use self::embeddings::Pooling;
pub use self::{
    agents::AgentSettings,
    database::DatabaseSettings,
    embeddings::{EmbeddingProvider, EmbeddingSettings},
    history::{HistoryOverrides, HistorySettings, SummarySettings},
    load::CommandLine,
    models::{ModelSettings, Provider},
    remembering::{AgentMemorySettings, MemorySettings, SearchSettings, SearchWeights},
    runs::{JobSettings, RunSettings},
    schema::{QUEUE_SUFFIX, check_schema},
    server::ServerSettings,
    sessions::{RetentionSettings, SessionSettings},
    webhooks::WebhookSettings,
};

/// Maximum number of history runs in a prompt, both for an agent's settings and for a run's own override.
pub const MAX_HISTORY_RUNS: u32 = 1_000;

/// The value in `server.cors_origins` for pages that are served from this machine, at any port.
pub const LOCALHOST: &str = "localhost";

/// All settings, merged from defaults, file, environment and command line.
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
    /// Models by the name that agents use for them.
    pub models: BTreeMap<String, ModelSettings>,
    pub agents: Vec<AgentSettings>,
}
