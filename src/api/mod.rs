//! Everything that knows HTTP: the list of all routes, extractors, problem documents, and the middleware around the
//! routes.
//!
//! Read [`router`] first: it lists every route. Each wire is a folder with its handlers, request bodies and JSON.
//!
//! *Architecture Invariant:* no room below imports this one. Every error is returned as a [`Problem`], and every
//! rejection of axum is converted into one. No handler builds an error response itself.

pub mod access;
pub mod agentos;
pub mod conditional;
pub mod contract;
pub mod discovery;
pub mod extract;
pub mod forms;
pub mod gate;
pub mod idempotency;
pub mod layers;
pub mod pages;
pub mod problem;
pub mod refusals;
pub mod router;
pub mod status;

pub use self::{
    access::{Asked, ForUser},
    extract::{Body, NoQuery, Path, Query},
    problem::Problem,
};
