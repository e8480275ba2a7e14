//! Memories: lasting facts about a user, learned from conversations or told over the API.
//!
//! `service` (rules of the API) → `change` (adds, supersedes and forgets memories, for every caller) → `store` (SQL).
//! HTTP is in `api::agentos::memories`. `extraction` learns from runs, `recall` chooses memories for a prompt, `line`
//! formats them there, `optimize` merges them. `likeness` detects duplicates, `secrets` what must not be stored.
//!
//! *Architecture Invariant:* every statement, except the cleanup of expired memories, is limited to one user's memories
//! or takes a `Scope`; a run without a user has no memories. A superseded memory stays readable as history; a forgotten
//! one is erased with its history.

mod after_run;
pub mod change;
pub mod extraction;
mod likeness;
mod line;
pub mod optimize;
pub mod recall;
mod secrets;
pub mod service;
pub mod store;

pub use self::after_run::AfterRun;
