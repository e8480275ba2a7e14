//! Calling models: one request in, one reply or a stream of pieces out, with retries and fallbacks.
//!
//! [`Models`] is what the other rooms use; `model.rs` has the types they share. `provider.rs` and its folder speak the
//! providers' APIs, `offline.rs` is the built-in model that needs neither network nor key, and [`detect()`] chooses a model
//! when none is configured. [`Embedder`] turns texts into vectors for searches. `json` reads what models say when JSON was
//! asked for.
//!
//! *Architecture Invariant:* a provider's own forms never leave this room, and nothing here knows of sessions, runs or
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

pub use detect::detect;
pub use embedding::Embedder;
pub use model::{
    ErrorKind, ModelError, ModelInfo, ModelReply, ModelRequest, PromptMessage, ResponseSchema, ToolCall, ToolSpec,
    Usage,
};
pub use models::{Models, http_client};
pub use tokens::count_tokens;
