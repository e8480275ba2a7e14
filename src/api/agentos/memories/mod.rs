//! `/memories` and related paths.

pub mod actions;
pub mod request;
pub mod routes;
pub mod wire;
