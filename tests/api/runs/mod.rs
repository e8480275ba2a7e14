//! Runs: what is answered, what is stored, what the model sees.

mod conversation;
mod outcome;
mod owner;
mod streaming;
