//! Where an installation keeps what is its own, so that several can share a database.

use anyhow::{Context, ensure};
use sqlx::PgPool;

/// The schema of installations that name none.
const DEFAULT_SCHEMA: &str = "public";
/// PostgreSQL cuts longer names off.
const MAX_NAME_BYTES: usize = 63;
const QUEUE_SUFFIX: &str = "_jobs";

/// The names of an installation: its schema, that of its job queue, and the channel on which its processes talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub schema: String,
    pub queue: String,
    pub channel: String,
}

impl Namespace {
    /// The one that the connections of this pool are in.
    pub async fn of(db: &PgPool) -> anyhow::Result<Self> {
        let schema = sqlx::query_scalar!("select current_schema()::text").fetch_one(db).await?;
        Self::new(schema.context(
            "no schema of the search_path exists; create one, or name one as database.schema (it is made if need be)",
        )?)
    }

    fn new(schema: String) -> anyhow::Result<Self> {
        check_schema(&schema)?;
        let is_default = schema == DEFAULT_SCHEMA;
        let queue = if is_default { "graphile_worker".to_owned() } else { format!("{schema}{QUEUE_SUFFIX}") };
        let channel = if is_default { "colloquy_runs".to_owned() } else { format!("{schema}_runs") };
        Ok(Self { schema, queue, channel })
    }
}

/// Refuses the name of a schema that cannot hold an installation.
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

/// A name as it stands in SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_in_different_schemas_share_no_name() {
        let (public, own) = (Namespace::new("public".into()).unwrap(), Namespace::new("own".into()).unwrap());
        assert_eq!((public.queue.as_str(), public.channel.as_str()), ("graphile_worker", "colloquy_runs"));
        assert_eq!((own.queue.as_str(), own.channel.as_str()), ("own_jobs", "own_runs"));
    }

    #[test]
    fn names_stay_within_what_postgresql_keeps() {
        assert!(Namespace::new("x".repeat(58)).is_ok());
        assert!(Namespace::new("x".repeat(59)).is_err());
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
