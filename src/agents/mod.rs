//! Agents: the configured ways to answer. They are read from the settings file once, at start.
//!
//! `model` has the definition. `engine` executes agents, `api::agentos::agents` lists them.

pub mod model;

pub use self::model::{Agent, Agents};
