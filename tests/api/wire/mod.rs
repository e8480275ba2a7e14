//! The shapes of the wire: what existing clients read must be there, under its name and with its type.
//!
//! The samples in `tests/fixtures/wire` have the keys and types of AgentOS with values of our own.

mod shapes;
mod streams;

use serde_json::Value;

use crate::support::{
    TestApp,
    scripted_model::{reply, reply_with_tool_call},
};

/// The assistant with its tools, knowing what to be.
async fn assistant_with_tools() -> TestApp {
    TestApp::with_agent(|agent| {
        agent.instructions = Some("Be brief.".into());
        agent.read_chat_history = true;
    })
    .await
}

/// The next run calls a tool before it answers.
fn script_a_tool_call(app: &TestApp) {
    app.model.then(reply_with_tool_call("get_chat_history", r#"{"num_chats": 2}"#)).then(reply("Nothing yet."));
}

fn fixture(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire").join(name);
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

/// Fails with every place in which `answer` has not the shape of the fixture; it may have more keys.
#[track_caller]
fn assert_shape(answer: &Value, name: &str) {
    assert_fits(answer, &fixture(name));
}

#[track_caller]
fn assert_fits(answer: &Value, sample: &Value) {
    let mut misfits = Vec::new();
    compare("", answer, sample, &mut misfits);
    assert!(misfits.is_empty(), "{misfits:#?} in {answer:#}");
}

/// A null in the sample stands for any value, an empty list for any list; else lists have as many items.
fn compare(place: &str, answer: &Value, sample: &Value, misfits: &mut Vec<String>) {
    match (answer, sample) {
        (_, Value::Null) => {}
        (Value::Array(_), Value::Array(samples)) if samples.is_empty() => {}
        (Value::Array(items), Value::Array(samples)) if items.len() == samples.len() => {
            for (index, (item, sample)) in items.iter().zip(samples).enumerate() {
                compare(&format!("{place}/{index}"), item, sample, misfits);
            }
        }
        (Value::Object(fields), Value::Object(samples)) => {
            for (key, sample) in samples {
                match fields.get(key) {
                    Some(field) => compare(&format!("{place}/{key}"), field, sample, misfits),
                    None => misfits.push(format!("{place}/{key} is missing")),
                }
            }
        }
        _ if kind(answer) == kind(sample) || (answer.is_number() && sample.is_f64()) => {}
        _ => misfits.push(format!("{place} is {} instead of {}", kind(answer), kind(sample))),
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a truth value".into(),
        Value::Number(number) if number.is_f64() => "a fraction".into(),
        Value::Number(_) => "a whole number".into(),
        Value::String(_) => "a text".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".into(),
    }
}

#[test]
fn the_comparer_sees_what_is_missing_or_of_another_type() {
    let sample = serde_json::json!({"a": 1, "b": [{"c": "x"}], "d": null, "e": 0.5});
    let mut misfits = Vec::new();
    compare("", &serde_json::json!({"a": 0.5, "b": [{}], "e": 1, "more": 1}), &sample, &mut misfits);
    assert_eq!(misfits, ["/a is a fraction instead of a whole number", "/b/0/c is missing", "/d is missing"]);
    assert_fits(&serde_json::json!({"a": 7, "b": [{"c": ""}], "d": {}, "e": 1}), &sample);
}
