//! Valid schema names.

use anyhow::ensure;

/// PostgreSQL truncates longer names.
const MAX_NAME_BYTES: usize = 63;
/// Suffix of the job queue's schema: it is appended to the installation's schema, except for `public`.
pub const QUEUE_SUFFIX: &str = "_jobs";

/// Refuses names that an installation's schema cannot have.
pub fn check_schema(name: &str) -> anyhow::Result<()> {
    ensure!(
        !name.is_empty() && name.len() + QUEUE_SUFFIX.len() <= MAX_NAME_BYTES && !name.contains('\0'),
        "database.schema \"{name}\" has {} bytes; use a name of 1 to {}",
        name.len(),
        MAX_NAME_BYTES - QUEUE_SUFFIX.len()
    );
    ensure!(
        !name.starts_with("pg_") && name != "information_schema",
        "database.schema \"{name}\" is PostgreSQL's own; use another name"
    );
    Ok(())
}
