//! Tenants: every key begins with one, every statement stays within one, and nothing of one reaches another.

mod catalogue;
mod decoy;
mod lint;
mod routing;
mod scenario;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::Value;
use sqlx::migrate::Migrator;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// An SQL text and where it stands.
#[derive(Clone, Debug)]
struct Source {
    place: String,
    text: String,
}

/// The statements that are checked when they are compiled.
fn checked_statements() -> Vec<Source> {
    files(&root().join(".sqlx"), "json")
        .into_iter()
        .map(|file| {
            let query: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            let text = query["query"].as_str().expect("its text").to_owned();
            Source { place: place(&file), text }
        })
        .collect()
}

/// The string literals and SQL files of the sources: what statements that are not checked are made of.
fn literals() -> Vec<Source> {
    let src = root().join("src");
    let of_rust = files(&src, "rs").into_iter().flat_map(|file| {
        let place = place(&file);
        let found = strings(&fs::read_to_string(&file).unwrap());
        found.into_iter().map(move |text| Source { place: place.clone(), text })
    });
    let of_sql = files(&src, "sql").into_iter();
    let of_sql = of_sql.map(|file| Source { place: place(&file), text: fs::read_to_string(&file).unwrap() });
    of_rust.chain(of_sql).collect()
}

/// The tables of the migrations that have a tenant.
fn tenant_tables() -> Vec<String> {
    let table = Regex::new(r"(?ms)^create table (\w+) \((.*?)^\)").unwrap();
    MIGRATIONS
        .iter()
        .flat_map(|migration| table.captures_iter(migration.sql.as_str()))
        .filter(|found| found[2].contains("tenant_id"))
        .map(|found| found[1].to_owned())
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn place(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

/// All files with this extension below a folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of_file| of_file == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The string literals of a Rust source, with their escapes resolved.
fn strings(source: &str) -> Vec<String> {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r#"(?xs)
        //[^\n]* | /\*.*?\*/ | '(?:\\.[^']*|[^'\\])'
        | r(?<hashes>\#*)"(?<raw>.*?)" (?<end>\#*)
        | "(?<plain>(?:\\.|[^"\\])*)"
        "#,
        )
        .unwrap()
    });
    static CONTINUED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\\n\s*").unwrap());
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = TOKEN.captures_at(source, at) {
        at = token.get(0).unwrap().end();
        if let (Some(hashes), Some(raw)) = (token.name("hashes"), token.name("raw")) {
            // A quote with fewer hashes than the first is within the literal.
            let end = format!("\"{}", hashes.as_str());
            let length = source[raw.start()..].find(&end).expect("its end");
            found.push(source[raw.start()..raw.start() + length].to_owned());
            at = raw.start() + length + end.len();
        } else if let Some(plain) = token.name("plain") {
            let text = CONTINUED.replace_all(plain.as_str(), "").replace("\\n", "\n").replace("\\\"", "\"");
            found.push(text.replace("\\\\", "\\"));
        }
    }
    found
}

#[test]
fn string_literals_are_found_in_every_form() {
    let source = r##"
        // "a comment" and 'a' quote
        let a = "one"; let b = '"'; let c = r"two"; let d = r#"three "3" "#;
        let e: &'static str = "fo\
            ur"; let f = "five \"5\" \n";
        /* "none" */
    "##;
    assert_eq!(strings(source), ["one", "two", "three \"3\" ", "four", "five \"5\" \n"]);
}
