//! `/sessions`: conversations.

pub mod append;
pub mod request;
pub mod routes;
pub mod wire;
