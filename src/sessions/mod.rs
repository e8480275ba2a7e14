//! Sessions: conversations and their attributes.
//!
//! `service` has the rules, `filter` the conditions and order of lists and searches, `store` the SQL. `append` takes in
//! messages from elsewhere, without a model; `import` validates exports, which `upload` receives; `retention` deletes
//! old sessions.
//!
//! *Architecture Invariant:* a list never reads a transcript, and every statement filters by the caller's scope.

pub mod append;
mod excerpt;
pub mod filter;
pub mod import;
pub mod retention;
pub mod service;
pub mod store;
pub mod upload;
