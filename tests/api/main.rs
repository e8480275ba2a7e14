//! Colloquy from outside: the real HTTP service over a real PostgreSQL, with a scripted model behind it.

mod contract;
mod embedded;
mod faults;
mod input;
mod llm;
mod process;
mod runs;
mod sessions;
mod support;
mod tools;
mod wire;
