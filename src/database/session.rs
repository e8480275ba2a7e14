//! Settings of every connection, whatever defaults its role or its database has.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::namespace::quoted;

/// Settings that our statements rely on. `search_path` is set too if `database.schema` is given.
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

/// Timeouts that are switched off. Requests have their own limits, which are reported to the caller; migrations and
/// housekeeping have no time limit.
const LIMITS: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

/// The statements that initialize a connection.
pub(super) fn beginning(schema: Option<&str>) -> String {
    let relied_on = RELIED_ON.iter().map(|(name, value)| format!("set {name} = '{value}';"));
    let limits = LIMITS.iter().map(|name| format!("set {name} = 0;"));
    let path = schema.map(|schema| format!("set search_path = {};", quoted(schema)));
    relied_on.chain(limits).chain(path).collect()
}

/// Refuses a transaction pooler whose connections have other settings: clients cannot set them there.
pub(super) async fn check(connection: &mut PgConnection, schema: Option<&str>) -> anyhow::Result<()> {
    let columns: Vec<_> = RELIED_ON.iter().map(|(name, _)| format!("current_setting('{name}')")).collect();
    let columns = columns.join(", ");
    let query = format!(
        "select {columns}, coalesce(current_schema()::text, ''), quote_ident(current_user), quote_ident(current_database())"
    );
    // Simple query protocol: it leaves no prepared statement on the pooler's connections.
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
