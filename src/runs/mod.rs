//! Runs: one message to an agent on a session, and everything until its answer is stored.
//!
//! The way of one run, in the order of the files: `request` (the three forms of a body) → `service` (accept) → `work`
//! (a task of the process) → `turns` (one at a time) → `context` (what the model sees) → `engine` (model, tools, events)
//! → `end` (settle) and `follow_up` (what is left to be done) → `store` (SQL) → `wire` (what clients get).
//!
//! Who listens: `events` (the live log), `encode`, `flush` (storing it), `following` (reading it anywhere), `stream`,
//! `resuming`. What may follow: `continuing`.
//! Who looks after it: `registry` (the runs of this process), `living` (signs of life), `supervision` (background runs),
//! `recovery` (of runs that nobody executes), `cancelling`, `webhook`.
//!
//! *Architecture Invariant:* the response is a reader of the run's events, not its owner: a client that goes away ends
//! nothing. Nobody hears `COMPLETED` before the settling transaction has been committed. Being told of something by
//! another process only saves time: everything is found by looking, too.

pub mod cancelling;
pub mod context;
pub mod continuing;
pub mod encode;
mod end;
pub mod engine;
pub mod events;
mod flush;
mod follow_up;
pub mod following;
mod living;
pub mod model;
pub mod reading;
mod recovery;
pub mod registry;
pub mod request;
pub mod resuming;
pub mod routes;
pub mod service;
pub mod store;
pub mod stream;
pub mod supervision;
mod turns;
pub mod webhook;
pub mod wire;
mod work;

pub use model::{Message, Role, Run, RunId, RunStatus};
pub use reading::clean_up;
pub use registry::Registry;
pub use webhook::{WebhookUrl, Webhooks};
