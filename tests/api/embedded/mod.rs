//! The embedded PostgreSQL on real servers, each in a directory of its own.

mod lifetime;
mod obstacles;
mod support;
