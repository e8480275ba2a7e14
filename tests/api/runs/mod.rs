//! Runs: what is answered, what is stored, what the model sees.

mod background;
mod beginning;
mod continuing;
mod conversation;
mod idempotency;
mod orphans;
mod outcome;
mod owner;
mod resuming;
mod streaming;
mod turns;
