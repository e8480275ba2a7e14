//! Search over messages and memories, of one user or in one session.
//!
//! `service` (the steps of one search) → `store` (SQL) → `bm25` (the words) → `rank` (everything else in the score).
//! HTTP is in `api::agentos::search`. `dates` parses the dates in a question, `statistics` caches the sizes of large
//! collections.
//!
//! Scoring: BM25 of the question's words (joined by *or*) over the statistics of the scope. With an embedding model,
//! also the similarity of the question's vector to those of the scope (`vectors`). Both are divided by their maximum
//! and added with a weight. Then come bounded bonuses, each with a weight from the settings: memories raise the turns
//! that they come from, a turn raises its neighbours, the best turns of a session raise the session, a date in the
//! question raises what was said then, and a name raises what that person said. `explain` shows each part.

pub mod bm25;
pub mod dates;
pub mod model;
pub mod rank;
mod reindex;
pub mod service;
mod statistics;
pub mod store;
pub mod vectors;

pub use self::reindex::{Reindexed, reindex};
pub use self::statistics::Statistics;
