//! SQL that works on one PostgreSQL and not on what it may be spread over, or that forgets the tenant.

use std::{cell::RefCell, collections::HashMap};

use regex::Regex;

use super::{MIGRATIONS, Source, checked_statements, literals, tenant_tables};

/// Each is compiled once: there are thousands of texts.
fn regex(pattern: &str) -> Regex {
    thread_local! { static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default() }
    COMPILED.with_borrow_mut(|compiled| {
        compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).clone()
    })
}

/// What may stay as it is: words that only this text has, and why.
const ALLOWED: [(&str, &str); 2] = [
    ("if to_regnamespace('public') is null then", "a database without the schema `public` takes another"),
    ("let the database's owner run `create extension", "a remedy for somebody whose schemas are not known"),
];

#[test]
fn no_statement_has_what_cannot_be_spread_or_forgets_the_tenant() {
    let migrations = MIGRATIONS
        .iter()
        .map(|migration| Source { place: migration.description.to_string(), text: migration.sql.as_str().to_owned() });
    let all: Vec<_> = checked_statements().into_iter().chain(literals()).chain(migrations).collect();
    assert!(all.len() > 500, "{} texts", all.len());
    let tables = tenant_tables();
    for (words, why) in ALLOWED {
        assert_eq!(all.iter().filter(|source| source.text.contains(words)).count(), 1, "{words} ({why})");
    }
    let faults: Vec<_> = all
        .iter()
        .filter(|source| !ALLOWED.iter().any(|(words, _)| source.text.contains(words)))
        .flat_map(|source| faults(&source.text, &tables).into_iter().map(|fault| (fault, &source.place, &source.text)))
        .map(|(fault, place, text)| {
            format!("{place}: {fault}: {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(faults, [""; 0]);
}

const CLOCK: &str = "the SET of an UPDATE calls clock_timestamp(); use now()";
const ROWS: &str = "an array of rows in the output; use an array for each column, or jsonb_build_array";
const CONFIG: &str =
    "CASE or COALESCE with ::regconfig in the SET of an UPDATE; compute the words in a CTE, or bind them";
const PATH: &str = "a function without `set search_path`";
const TRANSITION: &str = "a statement trigger joins its transition table; loop over it";
const QUEUE: &str = "the queue's tables and ours in one statement; ask one after the other";
const EXTENSION: &str = "an extension without the schema to create it in";
const INSERT: &str = "an insert that does not name tenant_id";
const CONFLICT: &str = "`on conflict` does not begin with tenant_id";

/// What is wrong with an SQL text.
fn faults(text: &str, tenant_tables: &[String]) -> Vec<&'static str> {
    if !regex(r"(?i)\b(?:select|insert|update|delete|create)\b").is_match(text) {
        return Vec::new();
    }
    let sql = without_comments(&text.to_lowercase());
    let mut faults = Vec::new();
    let sets = sets_of_updates(&sql);
    let mut check = |is_wrong: bool, fault| faults.extend(is_wrong.then_some(fault));
    check(sets.iter().any(|set| set.contains("clock_timestamp")), CLOCK);
    check(regex(r"\barray\s*\(\s*select\s+row\s*\(").is_match(&sql), ROWS);
    check(sets.iter().any(|set| chosen(set).iter().any(|part| part.contains("::regconfig"))), CONFIG);
    check(functions(&sql).iter().any(|function| !has_path(function)), PATH);
    check(joins_transition_table(&sql), TRANSITION);
    let ours = tenant_tables.join("|");
    check(
        regex(r"graphile_worker\.|\b_private_\w+").is_match(&sql)
            && regex(&format!(r"\b(from|join|update|into|using)\s+(public\.)?({ours})\b")).is_match(&sql),
        QUEUE,
    );
    check(
        regex(r"\bcreate extension\s[^;]*").find_iter(&sql).any(|found| !found.as_str().contains(" schema ")),
        EXTENSION,
    );
    let insert = regex(&format!(r"\binsert\s+into\s+(?:public\.)?(?:{ours})\b(?:\s+as\s+\w+)?\s*(\(([^)]*)\))?"));
    for insert in insert.captures_iter(&sql) {
        check(!insert.get(2).is_some_and(|columns| columns.as_str().contains("tenant_id")), INSERT);
        let rest = &sql[insert.get(0).unwrap().end()..];
        let end = regex(r";|\binsert\s+into\b").find(rest).map_or(rest.len(), |found| found.start());
        let conflict = regex(r"\bon\s+conflict\s*\(\s*(\w+)").captures(&rest[..end]);
        check(conflict.is_some_and(|conflict| &conflict[1] != "tenant_id"), CONFLICT);
    }
    faults
}

fn without_comments(sql: &str) -> String {
    regex(r"(?s)--[^\n]*|/\*.*?\*/").replace_all(sql, " ").into_owned()
}

/// What stands between SET and the rest, of every UPDATE and `do update`.
fn sets_of_updates(sql: &str) -> Vec<&str> {
    let begin = regex(r#"\bupdate\s+(?:only\s+)?[\w."]+(?:\s+(?:as\s+)?\w+)?\s+set\b|\bdo\s+update\s+set\b"#);
    let word = regex(r"[();]|\b(?:where|from|returning)\b");
    let rest_of = |begin: regex::Match<'_>| {
        let rest = &sql[begin.end()..];
        let mut depth = 0;
        for found in word.find_iter(rest) {
            match found.as_str() {
                "(" => depth += 1,
                ")" if depth == 0 => return &rest[..found.start()],
                ")" => depth -= 1,
                _ if depth == 0 => return &rest[..found.start()],
                _ => {}
            }
        }
        rest
    };
    begin.find_iter(sql).map(rest_of).collect()
}

/// The parts of a text of which PostgreSQL evaluates only some: within COALESCE or CASE.
fn chosen(sql: &str) -> Vec<&str> {
    let begin = regex(r"\bcoalesce\s*\(|\bcase\b");
    let part_of = |begin: regex::Match<'_>| {
        let (open, close) = if begin.as_str() == "case" { ("case", "end") } else { ("(", ")") };
        let rest = &sql[begin.end()..];
        let mut depth = 0;
        for found in regex(r"[()]|\b(?:case|end)\b").find_iter(rest) {
            depth += i32::from(found.as_str() == open);
            if found.as_str() == close {
                if depth == 0 {
                    return &rest[..found.start()];
                }
                depth -= 1;
            }
        }
        rest
    };
    begin.find_iter(sql).map(part_of).collect()
}

/// The definitions of functions, each to its end.
fn functions(sql: &str) -> Vec<&str> {
    let begin = regex(r"\bcreate\s+(?:or\s+replace\s+)?function\b");
    let mark = regex(r"\$\w*\$|;");
    let definition = |begin: regex::Match<'_>| {
        let rest = &sql[begin.start()..];
        let mut body: Option<&str> = None;
        for found in mark.find_iter(rest) {
            match body {
                None if found.as_str() == ";" => return &rest[..found.start()],
                None => body = Some(found.as_str()),
                Some(quote) if quote == found.as_str() => body = None,
                Some(_) => {}
            }
        }
        rest
    };
    begin.find_iter(sql).map(definition).collect()
}

/// Whether a function has its search path, or a body that was parsed when the function was made.
fn has_path(function: &str) -> bool {
    let outside = regex(r"(?s)\$\w*\$.*\$\w*\$").replace(function, " ");
    outside.contains("set search_path") || regex(r"\breturn\b|\bbegin\s+atomic\b").is_match(&outside)
}

fn joins_transition_table(sql: &str) -> bool {
    let trigger = regex(
        r"(?s)\bcreate\s+trigger\b[^;]*?\breferencing\b([^;]*?)\bfor\s+each\s+statement\b[^;]*?\bfunction\s+(\w+)",
    );
    let table = regex(r"\btable\s+as\s+(\w+)");
    trigger.captures_iter(sql).any(|trigger| {
        let bodies: Vec<_> = functions(sql)
            .into_iter()
            .filter(|body| regex(&format!(r"\bfunction\s+{}\b", &trigger[2])).is_match(body))
            .collect();
        table.captures_iter(&trigger[1]).any(|table| {
            let name = &table[1];
            let joined = [
                format!(r"\b(?:join|using)\s+{name}\b"),
                format!(r"\bfrom\s+{name}(?:\s+(?:as\s+)?\w+)?\s*(?:,|\bjoin\b)"),
                format!(r"\bfrom\s+{name}\s+(?:as\s+)?(?:\w+\s+)?(?:left|right|full|inner|cross|natural)\b"),
                format!(r"\bfrom\s+[\w.]+(?:\s+\w+)?\s*,\s*{name}\b"),
            ]
            .map(|pattern| regex(&pattern));
            bodies.iter().any(|body| joined.iter().any(|joined| joined.is_match(body)))
        })
    })
}

#[test]
fn each_fault_is_seen_and_what_is_right_is_not_taken_for_one() {
    let tables = ["sessions".to_owned(), "runs".to_owned()];
    let cases: [(&str, &[&str]); 27] = [
        ("update sessions set updated_at = clock_timestamp() where x", &[CLOCK]),
        ("with a as (update sessions s set a = extract(epoch from clock_timestamp())) select 1", &[CLOCK]),
        (
            "insert into sessions (tenant_id) values ($1) on conflict (tenant_id) do update set a = clock_timestamp()",
            &[CLOCK],
        ),
        ("update sessions set updated_at = now() where created_at < clock_timestamp()", &[]),
        ("select now() -- update sessions set a = clock_timestamp()", &[]),
        ("select array(select row(a, b) from t)", &[ROWS]),
        ("select array( SELECT  row (a) from t)", &[ROWS]),
        ("select array(select a from t)", &[]),
        ("update runs set words = case when $1 then search_words($2::text::regconfig, a) end where b", &[CONFIG]),
        ("update runs set words = coalesce(to_tsvector($2::regconfig, (a)), words)", &[CONFIG]),
        ("update runs set words = search_words($2::text::regconfig, a), b = coalesce(c, d) where e", &[]),
        ("select case when a then to_tsvector($1::regconfig, b) end", &[]),
        ("create function f() returns trigger language plpgsql as $$ begin set search_path = a; end $$;", &[PATH]),
        ("create or replace function f() returns int language sql as 'select 1' stable", &[PATH]),
        (
            "create function f() returns int language plpgsql set search_path = pg_catalog as $$ begin return 1; end $$;",
            &[],
        ),
        ("create function f(a text) returns text language sql immutable return lower(a);", &[]),
        ("create function f() returns int language sql begin atomic select 1; end", &[]),
        (
            "select from graphile_worker._private_jobs j where exists (select from sessions s where s.user_id = j.key)",
            &[QUEUE],
        ),
        ("select payload ->> 'session_id' from graphile_worker._private_jobs", &[]),
        ("create extension if not exists pg_trgm", &[EXTENSION]),
        ("create extension if not exists pg_trgm schema public", &[]),
        ("insert into sessions (session_id) values ($1)", &[INSERT]),
        ("insert into runs select $1, $2", &[INSERT]),
        ("insert into sessions (tenant_id, session_id) select $1, $2; insert into processes values ($1)", &[]),
        ("insert into sessions (tenant_id, session_id) values ($1) on conflict (session_id) do nothing", &[CONFLICT]),
        (
            "insert into sessions (tenant_id, session_id) values ($1) on conflict (tenant_id, session_id) do nothing",
            &[],
        ),
        ("insert into schedule (job) values ($1) on conflict (job) do nothing", &[]),
    ];
    for (sql, expected) in cases {
        assert_eq!(faults(sql, &tables), expected, "{sql}");
    }
    let bodies: [(&str, &[&str]); 5] = [
        ("delete from m using gone where true", &[TRANSITION]),
        ("select from gone g left join m on true", &[TRANSITION]),
        ("select from m, gone", &[TRANSITION]),
        ("select from m join gone using (id)", &[TRANSITION]),
        ("for a in select b, c from gone group by b, c loop end loop", &[]),
    ];
    for (body, expected) in bodies {
        let sql = format!(
            "create function f() returns trigger language plpgsql set search_path from current as $$ begin {body}; end $$;
             create trigger t after delete on m referencing old table as gone for each statement execute function f();"
        );
        assert_eq!(faults(&sql, &tables), expected, "{sql}");
    }
}
