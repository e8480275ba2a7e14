//! Users: not a table, but all that stands under one user's id. Here it is handed out and erased.
//!
//! `routes` (HTTP) → `store` (SQL) → `export` (the lines of an export).

mod export;
pub mod routes;
mod store;
