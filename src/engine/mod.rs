//! The execution of runs, from the request until the outcome is stored.
//!
//! ```text
//! start ──► task: accept (one statement) ► line ► prompt ► model loop ► settle (one transaction) ► RunCompleted
//!              └──► RunHandle: events and outcome, for the response that waits ◄──────────────────┘
//! ```
//!
//! `start` accepts a run, `execution` executes it, `model_loop` calls the model and its tools, `settlement` stores the
//! outcome and its side effects, `follow_up` decides which background work the run needs. `continuation` plans a run
//! that continues another one. `living` sends heartbeats, `supervision` watches the runs of this process and takes
//! background runs, `recovery` ends or requeues the runs of dead processes, `cancelling` ends a run early, `preview`
//! shows a prompt without calling a model.
//!
//! *Architecture Invariant:* a run belongs to its process, not to the request: a client that disconnects ends nothing.
//! A run is reported as completed only after its settling transaction has been committed. Nothing here depends on a
//! wire format.

pub mod cancelling;
pub mod continuation;
mod execution;
mod follow_up;
mod living;
mod model_loop;
pub mod preview;
mod recovery;
mod settlement;
pub mod start;
pub mod supervision;

pub use self::execution::Outcome;
