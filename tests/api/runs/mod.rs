//! Runs: what is answered, what is stored, what the model sees.

mod background;
mod beginning;
mod continuing;
mod conversation;
mod endless;
mod fairness;
mod idempotency;
mod orphans;
mod outcome;
mod owner;
mod resuming;
mod secrecy;
mod streaming;
mod turns;
mod webhooks;
