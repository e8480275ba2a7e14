//! The processes that share a database, and the live runs of this one.
//!
//! `registry` has the runs of this process, `line` is the queue of a session, `bus` has the notifications between
//! processes, `reader` follows a run in whichever process it is executed, and `store` has the rows of registered
//! processes, of waiting runs, and of cancel requests. Supervising, ending and taking runs is up to the `engine`.
//!
//! *Architecture Invariant:* all times that processes share are the database's. Notifications between processes only
//! save time: everything is found by polling too.

pub mod bus;
pub mod line;
pub mod reader;
pub mod registry;
pub mod store;

pub use self::{reader::Reader, registry::Registry};
