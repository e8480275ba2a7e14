//! Rolling summaries: a long conversation costs the same on every turn.
//!
//! A *fold* makes the next version of a session's summary from the previous version and the oldest runs that it does
//! not cover yet: one model call, of bounded size however long the session is. The boundary is one number in the
//! session's row, `summary_through`; the verbatim part of a prompt begins with the next run.
//!
//! `plan` chooses the runs → `prompt` (the request) → `answer` (parses and validates) → `service` (the fold) → `store`;
//! `model` has the types, `title` names sessions. A run that exceeds the high-water mark when it settles enqueues the
//! job.
//!
//! *Architecture Invariant:* no lock and no connection is held during the model call. A fold is stored only if the
//! boundary and the covered runs are still as it read them, so that concurrent folds, a deletion meanwhile or a crash
//! do no harm. The transcript is never changed.

mod answer;
pub mod model;
mod plan;
mod prompt;
pub mod service;
mod store;
pub mod title;

pub use self::service::{fold_session, forget, forget_part, recount};
