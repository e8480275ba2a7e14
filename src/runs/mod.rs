//! The record of runs. A run is one message to an agent on a session, and its outcome.
//!
//! `spec` is the request for a run, independent of the wire format; `store` accepts and settles runs; `reading` reads
//! them for clients. Executing runs is up to the `engine`.
//!
//! *Architecture Invariant:* nothing here executes anything, and nothing depends on a wire format.

pub mod reading;
pub mod spec;
pub mod store;
