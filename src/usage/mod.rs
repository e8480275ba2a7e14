//! Model calls outside of runs, and the token usage of sessions.

pub mod ask;
pub mod store;

/// What a model call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "usage_purpose", rename_all = "lowercase")]
pub enum Purpose {
    Summary,
    Memory,
    Title,
}
