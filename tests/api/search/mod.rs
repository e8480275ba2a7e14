//! Finding what was said and what is remembered.

mod appended;
mod finding;
mod recall;
mod reindexing;
mod service;
pub(crate) mod vectors;
