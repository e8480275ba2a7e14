//! Sessions: conversations, and what is known about them.
//!
//! `model` → `request` → `routes` → `service` → `store`; `filter` is what lists and searches are made of, `wire` has the
//! shapes that clients get. `append` takes in what was said elsewhere, without a model;
//! `import` what was exported, which `upload` receives. `summary` and `title` are work in
//! the background: `ask` has a model answer them with JSON, `costs` notes what that took.
//!
//! *Architecture Invariant:* a list never reads a transcript, and every statement filters by the caller's scope.

pub mod append;
pub mod ask;
pub mod costs;
mod excerpt;
pub mod filter;
pub mod import;
pub mod model;
pub mod request;
pub mod retention;
pub mod routes;
pub mod service;
pub mod store;
pub mod summary;
pub mod title;
pub mod upload;
pub mod wire;

pub use model::{Session, SessionId, SessionType};
