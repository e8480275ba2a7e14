//! Agents: who answers. Those of the settings file are read once, at start.
//!
//! `model` has the definition, `routes` shows them on the wire. How an agent is executed is the business of `runs`.

pub mod model;
pub mod routes;
pub mod wire;

pub use model::{Agent, Agents};
