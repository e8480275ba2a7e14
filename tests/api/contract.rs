//! The contract: what is written down is what is served.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::Value;

use crate::support::TestApp;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn contract() -> Value {
    serde_json::to_value(colloquy::testing::api::router::contract()).expect("the contract is JSON")
}

/// Every operation: its method, its path and what the contract says of it.
fn operations(contract: &Value) -> Vec<(String, String, Value)> {
    let paths = contract["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let methods = METHODS.into_iter().filter_map(|method| Some((method, item.get(method)?.clone())));
        let named = methods.map(|(method, operation)| (method.to_uppercase(), path.clone(), operation));
        named.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn the_committed_contract_is_the_current_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let current = colloquy::testing::api::router::contract().to_pretty_json().unwrap();
    assert!(
        committed.trim_end() == current.trim_end(),
        "openapi/openapi.json is not up to date; run `cargo run -- openapi > openapi/openapi.json` and commit it"
    );
}

#[test]
fn every_operation_says_what_it_does_and_answers() {
    let mut ids = HashSet::new();
    let mut faults = Vec::new();
    for (method, path, operation) in operations(&contract()) {
        let mut expect = |is_there: bool, what: &str| {
            if !is_there {
                faults.push(format!("{method} {path} has no {what}"));
            }
        };
        let has_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        expect(has_text(&operation["summary"]), "summary");
        expect(has_text(&operation["tags"][0]), "tag");
        expect(has_text(&operation["operationId"]), "operationId");
        let responses: Vec<_> = operation["responses"].as_object().into_iter().flatten().collect();
        expect(responses.iter().any(|(status, _)| status.starts_with('2')), "response that is a success");
        expect(responses.iter().any(|(_, response)| has_text(&response["description"])), "described response");
        assert!(ids.insert(operation["operationId"].clone()), "{} is there twice", operation["operationId"]);
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(ids.len() > 10);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let contract = contract();
    let mut found = Vec::new();
    references(&contract, &mut found);
    assert!(found.len() > 10);
    found.retain(|reference| reference.strip_prefix('#').and_then(|pointer| contract.pointer(pointer)).is_none());
    assert!(found.is_empty(), "nothing is at {found:?}");
}

#[tokio::test]
async fn every_path_of_the_contract_is_served() {
    let app = TestApp::start().await;
    for (method, path, _) in operations(&contract()) {
        let run_id = "01a206c1-4b42-72a9-b242-a016793c2551";
        let filled = path
            .replace("{run_id}", run_id)
            .replace("{agent_id}", "assistant")
            .replace("{session_id}", "x")
            .replace("{message_id}", run_id)
            .replace("{memory_id}", run_id)
            .replace("{user_id}", "alice")
            .replace("{job_id}", "1");
        assert!(!filled.contains('{'), "{filled}");
        let method: Method = method.parse().unwrap();
        let answer = app.send(app.request(method.clone(), &filled)).await;
        let unknown = format!("There is no {method} ");
        assert!(!answer.text.contains(&unknown) && answer.status != 405, "{method} {path}: {}", answer.text);
        assert!(!answer.status.is_server_error(), "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_contract_is_served() {
    let app = TestApp::start().await;
    let answer = app.get("/openapi.json").await;
    assert_eq!(answer.expect(200), contract());
    assert_eq!(answer.headers["content-type"], "application/json");
}

/// What a page loads: the values of `src` and `href`.
fn links(html: &str) -> Vec<&str> {
    let values = ["src=\"", "href=\""].into_iter().flat_map(|attribute| html.split(attribute).skip(1));
    values.filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_documentation_is_shown_without_any_other_host() {
    let app = TestApp::start().await;
    let page = app.get("/docs/index.html").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let links = links(&page.text);
    assert!(links.iter().any(|link| link.ends_with("swagger-ui-bundle.js")), "{}", page.text);
    let mut initializer = String::new();
    for link in links {
        assert!(!link.contains("//"), "{link} is on another host");
        let path = format!("/docs/{}", link.trim_start_matches("./"));
        let asset = app.get(&path).await;
        assert!(asset.status == 200 && asset.text.len() > 100, "{path}: {} {:.200}", asset.status, asset.text);
        if path.contains("initializer") {
            initializer = asset.text;
        }
    }
    assert!(initializer.contains("/openapi.json"), "{initializer}");
    assert!(!initializer.contains("http://") && !initializer.contains("https://"), "{initializer}");
}

#[tokio::test]
async fn the_documentation_is_found_with_and_without_its_slash() {
    let app = TestApp::start().await;
    for path in ["/docs", "/docs/"] {
        let page = app.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.contains("swagger-ui"), "{}", page.text);
    }
}

#[test]
fn the_architecture_names_tests_that_exist() {
    let sources = concat_sources(std::path::Path::new("tests/api"));
    let page = std::fs::read_to_string("ARCHITECTURE.md").unwrap();
    let rules = page.split("## What always holds").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<_> = rules.split('`').filter(|word| word.contains("::")).collect();
    assert!(named.len() > 10);
    for name in named {
        let function = name.rsplit("::").next().unwrap();
        assert!(sources.contains(&format!("fn {function}()")), "ARCHITECTURE.md names {name}, which is not there");
    }
}

fn concat_sources(dir: &std::path::Path) -> String {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { concat_sources(&path) } else { std::fs::read_to_string(path).unwrap() })
        .collect()
}

/// Swagger UI and generated clients cannot send a parameter that has to be of two types at once.
#[tokio::test]
async fn every_parameter_has_one_type() {
    let contract = serde_json::to_value(colloquy::testing::api::router::contract()).unwrap();
    for (path, operations) in contract["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["schema"].get("allOf").is_none(), "{path}: {parameter}");
            }
        }
    }
}
