//! What all routes share: the list of every path, extractors, problems, paging, and the layers around them.
//!
//! Read [`router`] first: it names every route. Handlers live in `routes.rs` of their rooms.
//!
//! *Architecture Invariant:* every error leaves as one [`Problem`], and every refusal of axum is turned into one; no
//! handler builds an error response by itself.

pub mod conditional;
pub mod contract;
pub mod discovery;
pub mod extract;
pub mod forms;
pub mod gate;
pub mod idempotency;
pub mod layers;
pub mod pages;
pub mod paging;
pub mod problem;
pub mod refusals;
pub mod router;
pub mod status;

pub use extract::{Body, NoQuery, Path, Query};
pub use problem::Problem;
