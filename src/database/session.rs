//! What every connection has, whatever its role or its database sets.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::namespace::quoted;

/// What statements here rely on. `search_path` is set beside these where the settings name a schema.
const RELIED_ON: [(&str, &str); 9] = [
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("standard_conforming_strings", "on"),
    ("client_encoding", "UTF8"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("extra_float_digits", "1"),
    ("array_nulls", "on"),
    ("gin_fuzzy_search_limit", "0"),
];

/// Requests have limits of their own, of which their callers are told; migrations and housekeeping take what they take.
const LIMITS: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

/// The statements with which a connection begins.
pub(super) fn beginning(schema: Option<&str>) -> String {
    let relied_on = RELIED_ON.iter().map(|(name, value)| format!("set {name} = '{value}';"));
    let limits = LIMITS.iter().map(|name| format!("set {name} = 0;"));
    let path = schema.map(|schema| format!("set search_path = {};", quoted(schema)));
    relied_on.chain(limits).chain(path).collect()
}

/// Refuses connections that a transaction pooler hands out with other settings: there they cannot be set by us.
pub(super) async fn check(connection: &mut PgConnection, schema: Option<&str>) -> anyhow::Result<()> {
    let columns: Vec<_> = RELIED_ON.iter().map(|(name, _)| format!("current_setting('{name}')")).collect();
    let columns = columns.join(", ");
    let query = format!(
        "select {columns}, coalesce(current_schema()::text, ''), quote_ident(current_user), quote_ident(current_database())"
    );
    // As plain text: what the pooler does with prepared statements is not known yet.
    let row = sqlx::raw_sql(AssertSqlSafe(query)).fetch_one(connection).await?;
    let text = |column: usize| row.try_get::<String, _>(column);
    let mut remedies = Vec::new();
    for (column, (name, wanted)) in RELIED_ON.iter().enumerate() {
        if !text(column)?.eq_ignore_ascii_case(wanted) {
            remedies.push(format!("{name} = '{wanted}'"));
        }
    }
    let [found, role, database] = [text(RELIED_ON.len())?, text(RELIED_ON.len() + 1)?, text(RELIED_ON.len() + 2)?];
    if let Some(schema) = schema.filter(|schema| found != **schema) {
        remedies.push(format!("search_path = {}", quoted(schema)));
    }
    let statements: Vec<String> =
        remedies.iter().map(|remedy| format!("alter role {role} in database {database} set {remedy};")).collect();
    ensure!(
        statements.is_empty(),
        "the connections of the transaction pooler have other settings than Colloquy needs, and it cannot set them there; \
         run {} and reconnect the pooler",
        statements.join(" ")
    );
    Ok(())
}
