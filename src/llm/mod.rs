//! Calling models: one request in, one reply or a stream of pieces out, with retries and fallbacks.
//!
//! [`Models`] is what the other rooms use; `model.rs` has the types they share. `provider.rs` and its folder are the
//! only place that names the provider library, `offline.rs` is the built-in model that needs neither network nor key,
//! and [`detect()`] chooses a model when none is configured.
//!
//! *Architecture Invariant:* a provider library's type never leaves this room, and nothing here knows of sessions,
//! runs or SQL. No key, prompt or answer is ever logged.

mod credentials;
mod detect;
mod model;
mod models;
mod offline;
mod provider;
mod retry;

pub use detect::detect;
pub use model::{ErrorKind, ModelError, ModelInfo, ModelReply, ModelRequest, PromptMessage, ToolCall, ToolSpec, Usage};
pub use models::{Models, http_client};
