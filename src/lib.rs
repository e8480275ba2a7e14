//! Colloquy runs AI agents over HTTP and gives them a memory, on PostgreSQL alone.
//!
//! The rooms (top-level modules) in the order of their dependencies: each imports only rooms that come before it in
//! this list. A test enforces that.

// Shared vocabulary.
mod text;
mod words;
mod clock;
mod model;
mod config;
mod telemetry;

// Infrastructure.
mod http_client;
mod database;
mod llm;
mod agents;
mod app;
mod jobs;
mod events;
mod idempotency;
mod usage;

// Stored data.
mod search;
mod memories;
mod runs;
mod prompt;
mod summaries;
mod sessions;
mod users;
mod webhooks;

// Execution.
mod tools;
mod processes;
mod engine;

// Entry points: background jobs, HTTP API, server.
mod worker;
mod api;
mod server;

// The only public modules: the command line, and re-exports for tests.
pub mod cli;
#[doc(hidden)]
pub mod testing;
