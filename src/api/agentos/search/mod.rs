//! `/search` and `/memories/search`.

pub mod request;
pub mod routes;
pub mod wire;
