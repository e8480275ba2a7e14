//! Rolling summaries: a long conversation costs the same on every turn.
//!
//! A *fold* makes the next version of a session's summary out of the version before it and the oldest runs that it does
//! not cover yet: one call of a model, of bounded size however long the session is. What is covered is one number in the
//! session's row, `summary_through`; the verbatim part of a prompt begins with the next run.
//!
//! `model` → `prompt` (what the model is told) → `answer` (what it may answer) → `service` (the fold) → `store`;
//! `routes` shows it. A run whose settling passes the high water queues the job.
//!
//! *Architecture Invariant:* nothing is locked or held while the model writes. A fold is stored only where the boundary
//! and the covered runs are still as it read them, so that two folds at once, a deletion under one or a death of the
//! process do no harm. The transcript is never changed.

mod answer;
pub mod model;
mod prompt;
pub mod routes;
pub mod service;
mod store;

pub use model::SessionSummary;
pub use service::{fold_session, forget, forget_part, recount};
