//! Runs: what is answered, what is stored, what the model sees.

mod background;
mod conversation;
mod outcome;
mod owner;
mod resuming;
mod streaming;
mod turns;
