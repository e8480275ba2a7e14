//! Search over what was said and what is remembered, of one user or in one session.
//!
//! `request`, `routes` (HTTP) → `service` (the steps of one search) → `store` (SQL) → `bm25` (the words) → `rank` (what
//! else speaks for a hit) → `wire`. `dates` reads the dates that a question names, `statistics` remembers the size of large
//! collections.
//!
//! How a hit is found: the words of the question, joined by *or*, against the words of messages and memories, scored by
//! BM25 over the scope's own statistics, and where there is an embedding model, the vector of the question against those
//! of the scope (`vectors`), both divided by their best and added with a weight; then bounded additions, each with a
//! weight of the settings: a memory speaks for the turns it was drawn from, a turn for its neighbours, the best turns of
//! a session for the session, a date that the question names for what was said then, a name for what that person said.
//! `explain` shows each part.

pub mod bm25;
pub mod dates;
pub mod model;
pub mod rank;
mod reindex;
pub mod request;
pub mod routes;
pub mod service;
mod statistics;
pub mod store;
pub mod vectors;
pub mod wire;

pub use reindex::{Reindexed, reindex};
pub use statistics::Statistics;
pub use vectors::KeptVectors;
