//! Memories: lasting facts about a user, learned from conversations or told over the API.
//!
//! `model` (types) → `request`, `routes`, `actions` (HTTP) → `service` (rules of the API) → `change` (the one way in
//! which memories come and go, whoever asks for it) → `store` (SQL) → `wire` (what clients get). `extraction` learns
//! from runs, `recall` chooses what goes into a prompt, where each is a `line`, `optimize` merges. `likeness` tells
//! whether two texts say the same, `secrets` what must not be kept.
//!
//! *Architecture Invariant:* every statement is on one user's memories or takes a `Scope`; a run without a user has
//! none. A memory that is replaced stays readable as history; one that is forgotten is erased with its history.

pub mod actions;
mod after_run;
pub mod change;
pub mod extraction;
mod likeness;
mod line;
pub mod model;
pub mod optimize;
pub mod recall;
pub mod request;
pub mod routes;
mod secrets;
pub mod service;
pub mod store;
pub mod wire;

pub use after_run::AfterRun;
pub use line::Brief;
pub use model::{Memory, MemoryId};
