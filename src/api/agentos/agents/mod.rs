//! `/agents`: the configured agents.

pub mod routes;
pub mod wire;
