//! Runs: what is answered, what is stored, what the model sees.

mod background;
mod continuing;
mod conversation;
mod fairness;
mod idempotency;
mod outcome;
mod owner;
mod resuming;
mod streaming;
mod turns;
mod webhooks;
