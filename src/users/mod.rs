//! Users: not a table, but all that stands under one user's id. Here it is handed out and erased.
//!
//! `routes` (HTTP) → `service` (erasing), `export` (the lines of an export) → `store` (SQL).

mod export;
pub mod routes;
mod service;
mod store;
