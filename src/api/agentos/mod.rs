//! The AgentOS wire: its paths, bodies, JSON and events, one folder per resource. AgentOS clients work unmodified.
//!
//! Each folder has `routes` (handlers), `request` (request bodies and queries) and `wire` (response JSON).
//!
//! *Architecture Invariant:* no room outside of `api` imports this one. The peculiarities of the wire stay here.

pub mod agents;
pub mod jobs;
pub mod memories;
pub mod runs;
pub mod search;
pub mod sessions;
pub mod summaries;
pub mod users;
