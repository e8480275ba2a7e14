//! The events of a run, in order, for readers in this process, in another one, or later.
//!
//! `kinds` has the events in their stored form, `log` has the live events of a run of this process, and `flush` stores
//! them in batches through `store`. `processes::reader` follows a run from any event on, in whichever process it is
//! executed. A wire format encodes events when it sends them; nothing here depends on one.
//!
//! *Architecture Invariant:* the last event of a run is not stored: it is built from the run's outcome. Events of an
//! attempt whose process died are void: readers continue with the attempt that took over.

pub mod flush;
pub mod kinds;
pub mod log;
pub mod store;

pub use self::{
    flush::clean_up,
    kinds::{Completion, Event, EventKind, KnownMemory},
    log::EventLog,
    store::EventBatch,
};
