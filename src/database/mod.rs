//! Everything that touches PostgreSQL.
//!
//! `embedded/` runs a private server for an installation that names none of its own.

pub mod embedded;
