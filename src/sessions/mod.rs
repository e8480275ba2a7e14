//! Sessions: conversations, and what is known about them.
//!
//! `model` → `request` → `routes` → `service` → `store`; `wire` has the shapes that clients get. `append`
//! takes in what was said elsewhere.
//!
//! *Architecture Invariant:* a list never reads a transcript, and every statement filters by the caller's scope.

pub mod append;
pub mod model;
pub mod request;
pub mod routes;
pub mod service;
pub mod store;
pub mod wire;

pub use model::{Session, SessionId, SessionType};
