//! Users: not a table, but all data under one user id. It is exported and erased here.
//!
//! `service` (erasing), `export` (the lines of an export) → `store` (SQL).

pub mod export;
pub mod service;
mod store;
