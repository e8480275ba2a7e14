//! Model calls outside of runs, and the token usage of sessions.

pub mod ask;
mod entries;
pub mod store;

pub use self::entries::{Entries, details, entries};

/// What a model call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    Run,
    Summary,
    Memory,
    Title,
}

impl Purpose {
    /// The name in `sessions.usage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Summary => "summary",
            Self::Memory => "memory",
            Self::Title => "title",
        }
    }
}
