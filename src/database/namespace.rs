//! The database names of an installation. Separate names let several installations share a database.

use anyhow::Context;
use sqlx::PgPool;

use crate::config::{QUEUE_SUFFIX, check_schema};

/// In this schema, the queue and the channel keep their default names.
const DEFAULT_SCHEMA: &str = "public";

/// An installation's schema, its job queue's schema, and the NOTIFY channel of its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub schema: String,
    pub queue: String,
    pub channel: String,
}

impl Namespace {
    /// The namespace of this pool's connections, by their `current_schema()`.
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

/// Quotes an SQL identifier.
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
