//! Runs: one message to an agent on a session, and everything until its answer is stored.
//!
//! The way of one run, in the order of the files: `request` (the three forms of a body) → `service` (accept) → `work`
//! (a task of the process) → `context` (what the model sees) → `engine` (model, tools, events) → `end` (settle) →
//! `store` (SQL) → `wire` (what clients get). `events` and `stream` connect the run with whoever listens.
//!
//! *Architecture Invariant:* the response is a reader of the run's events, not its owner: a client that goes away ends
//! nothing. Nobody hears `COMPLETED` before the settling transaction has been committed.

pub mod context;
mod end;
pub mod engine;
pub mod events;
pub mod model;
pub mod request;
pub mod routes;
pub mod service;
pub mod store;
pub mod stream;
pub mod wire;
mod work;

pub use model::{Message, Role, Run, RunId, RunStatus};
pub use service::clean_up;
