//! Colloquy from outside: the real HTTP service over a real PostgreSQL, with a scripted model behind it.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected panics")]

mod context;
mod contract;
mod databases;
mod dialogues;
mod edge;
mod embedded;
mod faults;
mod house;
mod input;
mod jobs;
mod llm;
mod memories;
mod newer;
mod price;
mod process;
mod processes;
mod runs;
mod search;
mod sessions;
mod summaries;
mod support;
mod tenants;
mod tls;
mod tools;
mod users;
mod wire;
