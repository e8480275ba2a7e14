//! Colloquy runs AI agents over HTTP and gives them a memory, on PostgreSQL alone.
//!
//! The rooms in reading order; each has a noun, and the same file names inside: `model` (types), `routes` (HTTP),
//! `service` (rules), `store` (SQL), `wire` (what clients get).
//!
//! The way of one run, `POST /agents/{id}/runs`:
//!
//! 1. [`http::router`] lists the route; [`runs::request`] reads JSON or a form; [`runs::routes::create_run`] calls
//! 2. [`runs::service::start`]: a task of the process **accepts**, storing session, number and message in one statement,
//!    and carries the run out.
//! 3. [`runs::context`] builds the prompt from one query.
//! 4. [`runs::engine`] calls the model ([`llm`]) and the [`tools`] and reports to [`runs::events`]; the response reads
//!    from there.
//! 5. The service **settles**: outcome, messages, state and costs in one transaction. Only then does anyone hear
//!    `COMPLETED`.

// Settings, read and checked once.
pub mod config;

// What every room shares.
pub mod app;

// Every route, and what surrounds them.
pub mod http;

// Who calls, and what they may see.
pub mod auth;

// One message to an agent, until its answer is stored.
pub mod runs;

// Conversations.
pub mod sessions;

// Finding what was said and what is remembered.
pub mod search;

// Lasting facts about users.
pub mod memories;

// All of one user.
pub mod users;

// Who answers.
pub mod agents;

// What a model may call.
pub mod tools;

// Calling models.
pub mod llm;

// Background work.
pub mod jobs;

// What time it is.
pub mod clock;

// The pool, the migrations, the embedded PostgreSQL.
pub mod database;

// Starting, serving, stopping.
pub mod server;

// Logs.
pub mod telemetry;

// Rules for text from outside.
pub mod text;

// Words out of a few, also those of a newer build.
pub mod words;
