//! Colloquy.

pub mod database;
