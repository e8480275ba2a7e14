//! Calls models: one request in, one reply or a stream of pieces out, with retries and fallbacks.
//!
//! [`Models`] is the interface for the other rooms; `model.rs` has the shared types. `provider.rs` and its folder
//! implement the providers' APIs, `offline.rs` is the built-in model that needs neither network nor key, and
//! [`detect()`] chooses a model if none is configured. [`Embedder`] turns texts into vectors for searches. `json` finds
//! JSON in answers.
//!
//! *Architecture Invariant:* provider-specific types never leave this room, and nothing here knows of sessions, runs or
//! SQL. No key, prompt or answer is ever logged.

mod credentials;
mod detect;
mod embedding;
pub mod json;
mod model;
mod models;
mod offline;
mod provider;
mod retry;
mod tokens;

pub use self::detect::detect;
pub use self::embedding::Embedder;
pub use self::model::{ErrorKind, ModelError, ModelReply, ModelRequest, PromptMessage, ResponseSchema, ToolSpec};
pub use self::models::{Models, http_client};
pub use self::tokens::count_tokens;
pub use crate::model::ModelInfo;
