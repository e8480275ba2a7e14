//! Every statement stays within one tenant. The tables are divided between two of them here, and PostgreSQL's plans
//! tell which parts a statement would read: those of its own tenant, and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use regex::Regex;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

use super::{
    MIGRATIONS, Source, checked_statements, literals,
    scenario::{Scenario, settings},
    tenant_tables,
};
use crate::support::{TestApp, TestDatabase, test_database};

/// Statements for all tenants: words that only they have, and why.
const SWEEPS: [(&str, &str); 25] = [
    ("delete from run_events e using ( select old.tenant_id", "events of all tenants expire"),
    ("delete from idempotency_keys k using", "keys of all tenants expire"),
    ("delete from memories m using ( select one.tenant_id", "memories of all tenants expire"),
    (
        "and expires_at <= now() and not pinned and active_seq is null returning component_id",
        "sessions of all tenants expire",
    ),
    ("and component_id = $2 and updated_at <", "retention of an agent's sessions, whoever they are of"),
    ("component_id <> all($2::text[])", "retention of all other sessions"),
    ("coalesce(q.process_id, q.waiter_id) as \"holder!: ProcessId\"", "runs of a dead process, whoever they are of"),
    ("with recursive ready as not materialized", "background runs are taken user by user, through all tenants"),
    ("$1 = any(declined_by) and declined_at <", "runs that no process can execute end, whoever they are of"),
    ("as mine (tenant_id, run_id)", "a process asks at once for all runs that it executes"),
    ("select distinct tenant_id, user_id from memory_turns", "jobs that are missing are queued for all users"),
    ("and not t.set_aside and t.attempts > 0 )", "the users of many jobs at once"),
    ("and t.user_id = u.user_id and t.set_aside )", "the users of many jobs at once"),
    ("update runs r set words = search_words", "a new text search configuration is one for all"),
    ("update outcomes o set words = search_words", "a new text search configuration is one for all"),
    ("update run_steps p set words = search_words", "a new text search configuration is one for all"),
    ("update memories m set words = search_words", "a new text search configuration is one for all"),
    ("from present on conflict (tenant_id, session_id) do nothing", "a new embedding model is one for all"),
    ("select exists (select from unembedded_sessions)", "whether there is anything to embed"),
    ("order by noted.noted_at desc limit $2", "what is to be embedded next, whoever it is of"),
    ("as dirty (tenant_id, session_id)", "the texts of sessions of any tenants are embedded together"),
    (
        "select tenant_id, user_id, memory_id, memory from memories where tenant_id = tenant.tenant_id",
        "and those of memories",
    ),
    ("as made (tenant_id, session_id, seq, index, embedding)", "their vectors are stored together"),
    ("as made (tenant_id, user_id, memory_id, memory, embedding)", "and those of memories"),
    ("as done (tenant_id, session_id, noted_at)", "and they are no longer to be embedded"),
];

/// The migrations with each table that has a tenant divided between the default tenant and another one.
fn divided(migration: &str, tables: &[String]) -> String {
    let table = Regex::new(r"(?ms)^create table (\w+) \((.*?)^\)(?: with \([^;]*\))?;").unwrap();
    let divided = table.replace_all(migration, |found: &regex::Captures<'_>| {
        let (name, columns) = (&found[1], &found[2]);
        if !tables.iter().any(|table| table == name) {
            return found[0].to_owned();
        }
        format!(
            "create table {name} ({columns}) partition by list (tenant_id);
             create table {name}_t1 partition of {name} for values in ('default');
             create table {name}_t2 partition of {name} for values in ('another');"
        )
    });
    divided.into_owned()
}

async fn divided_database() -> TestDatabase {
    let database = test_database().await;
    let mut connection = PgConnection::connect_with(&database.options).await.unwrap();
    let empty = "create schema kept; alter table public._sqlx_migrations set schema kept;
                 drop schema seen, decoy, public cascade; create schema public;
                 alter table kept._sqlx_migrations set schema public; create extension pg_trgm schema public";
    sqlx::raw_sql(empty).execute(&mut connection).await.unwrap();
    let tables = tenant_tables();
    for migration in MIGRATIONS.iter() {
        let statements = divided(migration.sql.as_str(), &tables);
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    database
}

/// A value of this type as SQL writes it.
fn value(of_type: &str, is_true: bool) -> String {
    let text = match of_type {
        "boolean" => return is_true.to_string(),
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" | "oid" => "1",
        "uuid" => "01a206c1-4b42-72a9-b242-a016793c2551",
        "timestamp with time zone" => "2026-01-01T00:00:00Z",
        "interval" => "1 day",
        "json" | "jsonb" => "{}",
        "bytea" => "\\x00",
        // Some name a text search configuration.
        "text" | "character varying" | "name" | "tsquery" | "tsvector" | "regconfig" => "simple",
        array if array.ends_with("[]") => {
            let element = value(&array[..array.len() - 2], is_true);
            return format!("array[{element}]::{array}");
        }
        // What is left are our enums.
        other => return format!("enum_first(null::{other})"),
    };
    format!("'{text}'::{of_type}")
}

/// Checks statements in a database whose tables are divided.
struct Checker(PgConnection);

impl Checker {
    async fn on(database: &TestDatabase) -> Self {
        let mut connection = PgConnection::connect_with(&database.options).await.unwrap();
        sqlx::raw_sql("set plan_cache_mode = force_custom_plan").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    /// The parts of another tenant that a statement of the default tenant would read, with any values.
    async fn foreign_parts(&mut self, statement: &str) -> Result<BTreeSet<String>, sqlx::Error> {
        // Where the driver tells the type of a value, a subquery does not.
        let untyped = Regex::new(r"@> \(select (\$\d+)\)").unwrap();
        let statement = untyped.replace_all(statement, "@> (select ${1}::jsonb)");
        sqlx::raw_sql("deallocate all").execute(&mut self.0).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("prepare checked as {statement}"))).execute(&mut self.0).await?;
        let types = "select parameter_types::text[] as types from pg_prepared_statements where name = 'checked'";
        let types: Vec<String> = sqlx::raw_sql(types).fetch_one(&mut self.0).await?.try_get("types")?;
        // Of a statement that no row can match, a plan names parts that it does not read.
        let part = Regex::new(r"\bScan\b.* on (?:\w+\.)?(\w+)_t2\b").unwrap();
        let mut parts = BTreeSet::new();
        for (is_given, is_true) in [(true, true), (true, false), (false, true)] {
            let values = types.iter().enumerate().map(|(place, of_type)| match (place, of_type.as_str()) {
                (0, "text") => "'default'".to_owned(),
                (0, _) => value(of_type, is_true),
                (_, of_type) if !is_given && !of_type.ends_with("[]") => format!("null::{of_type}"),
                _ => value(of_type, is_true),
            });
            let values = values.collect::<Vec<_>>().join(", ");
            let call = if values.is_empty() { String::new() } else { format!("({values})") };
            let explain = format!("explain (costs off) execute checked{call}");
            let plan = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut self.0).await?;
            for line in plan {
                let line: String = line.try_get(0)?;
                parts.extend(part.captures_iter(&line).map(|found| found[1].to_owned()));
            }
        }
        Ok(parts)
    }

    /// Which statements leave their tenant, with the parts that they would read.
    async fn strays(&mut self, statements: &[Source]) -> BTreeMap<String, String> {
        let mut strays = BTreeMap::new();
        for Source { place, text } in statements {
            match self.foreign_parts(text).await {
                Ok(parts) if parts.is_empty() => {}
                Ok(parts) => drop(strays.insert(text.clone(), format!("{place} reads {parts:?} of another tenant"))),
                Err(error) => drop(strays.insert(text.clone(), format!("{place}: {error}"))),
            }
        }
        strays
    }
}

/// What is wrong: statements that leave their tenant and are no sweeps, and sweeps that do not.
fn judge(strays: &BTreeMap<String, String>, statements: &[Source], sweeps: &[(&str, &str)]) -> Vec<String> {
    let sweep_of = |text: &str| sweeps.iter().find(|(words, _)| spaced(text).contains(words));
    let unknown = strays.iter().filter(|(text, _)| sweep_of(text).is_none());
    let mut wrong: Vec<_> = unknown.map(|(text, why)| format!("{why}: {}", spaced(text))).collect();
    for (words, why) in sweeps {
        let found: Vec<_> = statements.iter().filter(|statement| spaced(&statement.text).contains(words)).collect();
        match found[..] {
            [one] if strays.contains_key(&one.text) => {}
            [_] => wrong.push(format!("no sweep, take it from the list: {words} ({why})")),
            _ => wrong.push(format!("{} statements have these words: {words} ({why})", found.len())),
        }
    }
    wrong
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Collects the statements that sqlx sends.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<BTreeSet<String>>>);

impl<S: Subscriber> Layer<S> for Sent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        #[derive(Default)]
        struct Statement {
            summary: String,
            whole: String,
        }
        impl Visit for Statement {
            fn record_str(&mut self, field: &Field, value: &str) {
                match field.name() {
                    "summary" => value.clone_into(&mut self.summary),
                    "db.statement" => value.trim().clone_into(&mut self.whole),
                    _ => {}
                }
            }

            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.record_str(field, format!("{value:?}").trim_matches('"'));
            }
        }
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut statement = Statement::default();
        event.record(&mut statement);
        let text = if statement.whole.is_empty() { statement.summary } else { statement.whole };
        self.0.lock().unwrap().insert(text);
    }
}

/// Whether a statement reads or writes a table with a tenant. What only asks for a plan reads nothing.
fn is_about_tenants(text: &str, tables: &[String]) -> bool {
    let named =
        Regex::new(&format!(r"(?i)\b(from|join|update|into|using)\s+\(?(only\s+)?({})\b", tables.join("|"))).unwrap();
    let is_statement = Regex::new(r"(?is)^\s*(--[^\n]*\n\s*)*(select|with|insert|update|delete)\b").unwrap();
    is_statement.is_match(text) && named.is_match(text)
}

#[tokio::test]
async fn no_statement_leaves_its_tenant() {
    let database = divided_database().await;
    let (sent, tables) = (Sent::default(), tenant_tables());
    let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(sent.clone()));
    let app = TestApp::on(database.clone(), settings).await;
    let unused = Scenario::new(&app, async |_: &str| {}).play().await;
    app.shut_down().await;
    drop(listening);
    assert_eq!(unused, [""; 0], "not every route was used");

    let mut statements = checked_statements();
    assert!(statements.len() > 100, "{} statements", statements.len());
    let checked: BTreeSet<String> = statements.iter().map(|statement| spaced(&statement.text)).collect();
    let sent = sent.0.lock().unwrap().clone();
    let made: Vec<Source> = sent
        .iter()
        // Only the scenario itself sends several statements at once.
        .filter(|text| !spaced(text).contains("; update "))
        .filter(|text| is_about_tenants(text, &tables) && !checked.contains(&spaced(text)))
        .map(|text| Source { place: "sent".into(), text: text.clone() })
        .collect();
    assert!(made.len() > 50, "{} statements were made of pieces", made.len());

    // Every piece of which statements are made is in one that was sent.
    let all_sent = sent.iter().map(|text| spaced(text)).collect::<Vec<_>>().join("\n");
    let piece = Regex::new(&format!(r"\b(from|join|update|into|using) ({})\b", tables.join("|"))).unwrap();
    let missing: Vec<_> = literals()
        .into_iter()
        .map(|literal| (literal.place, spaced(&literal.text)))
        .filter(|(_, text)| piece.is_match(text) && !checked.iter().any(|checked| checked.contains(text.as_str())))
        .filter(|(_, text)| !all_sent.contains(text.as_str()))
        .collect();
    assert_eq!(missing, [], "no request of the scenario sends these");

    statements.extend(made);
    let mut checker = Checker::on(&database).await;
    let strays = checker.strays(&statements).await;
    let wrong = judge(&strays, &statements, &SWEEPS);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_statement_that_leaves_its_tenant_is_seen() {
    let mut checker = Checker::on(&divided_database().await).await;
    let mut parts =
        async |statement: &str| checker.foreign_parts(statement).await.unwrap().into_iter().collect::<Vec<_>>();
    let stays =
        "select from runs r join sessions s using (tenant_id, session_id) where r.tenant_id = $1 and s.user_id = $2";
    assert_eq!(parts(stays).await, [""; 0]);
    let forgets_one_key =
        "select from runs r join sessions s using (session_id) where r.tenant_id = $1 and s.user_id = $2";
    assert_eq!(parts(forgets_one_key).await, ["sessions"]);
    let forgets_if_unasked = "delete from runs where ($2::boolean or tenant_id = $1) and session_id = $3";
    assert!(parts(forgets_if_unasked).await.contains(&"runs".to_owned()));
    let in_a_cte = "with ended as (delete from open_runs where tenant_id = $1 and seq = $2 returning session_id)
                    update sessions s set waiting = '{}' from ended where s.session_id = ended.session_id";
    assert_eq!(parts(in_a_cte).await, ["sessions"]);
}

#[test]
fn the_list_of_sweeps_has_no_more_than_the_sweeps() {
    let source = |text: &str| Source { place: "here".into(), text: text.into() };
    let statements = [source("select  a"), source("select b"), source("select c")];
    let strays =
        BTreeMap::from([("select  a".to_owned(), "strays".to_owned()), ("select b".to_owned(), "strays".to_owned())]);
    let reason = "a reason";
    assert_eq!(judge(&strays, &statements, &[("select a", reason), ("select b", reason)]), [""; 0]);
    assert_eq!(judge(&strays, &statements, &[("select a", reason)]), ["strays: select b"]);
    let with_more =
        judge(&strays, &statements, &[("select a", reason), ("select b", reason), ("select c", reason), ("d", reason)]);
    assert_eq!(with_more.len(), 2, "{with_more:?}");
}
