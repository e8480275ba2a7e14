//! A run of an export, as it is stored: with its user's message when it began, with its answer when it ended, and its
//! other messages as steps. Whatever an export says of a run is kept: what has no place in these two is a step.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Fields of a message that neither the user's nor the answer has a place for.
const OF_TOOLS: [&str; 5] = ["tool_calls", "tool_call_id", "tool_name", "tool_args", "tool_call_error"];
/// Fields that only an answer has a place for.
const OF_ANSWERS: [(&str, &str); 5] = [
    ("message_id", "answer_id"),
    ("reasoning", "reasoning"),
    ("metrics", "answer_metrics"),
    ("provider_data", "provider_data"),
    ("created_at", "answered_at"),
];

/// A run whose messages are still being read.
#[derive(Debug)]
pub struct RunParts {
    run: Value,
    has_messages: bool,
    /// Whether its beginning has been handed out.
    has_begun: bool,
    /// The id of the user's message.
    message_id: Value,
    /// The last message, which may be the answer.
    last: Option<Value>,
}

impl RunParts {
    /// `run` is the line of the run.
    pub fn new(run: Value) -> Self {
        Self { run, has_messages: false, has_begun: false, message_id: Value::Null, last: None }
    }

    /// Takes the run's next message. Returns the message before it, if that is a step.
    pub fn take(&mut self, message: Value) -> Option<Value> {
        let is_first = !std::mem::replace(&mut self.has_messages, true);
        if is_first && self.is_of_user(&message) {
            self.message_id = message["message_id"].clone();
            return None;
        }
        self.last.replace(message)
    }

    /// Whether messages have been taken. The first one tells whether it is the user's.
    pub fn has_messages(&self) -> bool {
        self.has_messages
    }

    /// The beginning of the run, once. All that a run begins with must have been taken.
    pub fn opening(&mut self) -> Option<Value> {
        if self.has_begun {
            return None;
        }
        self.has_begun = true;
        let mut opening = self.run.clone();
        opening["message_id"] = self.message_id.clone();
        Some(opening)
    }

    /// The last message, if it is a step, and the run's end.
    pub fn end(self) -> (Option<Value>, Value) {
        let Self { mut run, last, .. } = self;
        match last {
            Some(message) if is_answer(&run, &message) => {
                run["answer_index"] = message["index"].clone();
                for (of_message, of_run) in OF_ANSWERS {
                    run[of_run] = message[of_message].clone();
                }
                (None, run)
            }
            last => (last, run),
        }
    }

    fn is_of_user(&self, message: &Value) -> bool {
        let has_more = OF_TOOLS.iter().chain(&["reasoning", "metrics", "provider_data"]);
        message["index"] == 0
            && message["role"] == "user"
            && message["content"] == self.run["input"]
            && time(&message["created_at"]) == time(&self.run["created_at"])
            && has_more.into_iter().all(|field| message[*field].is_null())
    }
}

fn is_answer(run: &Value, message: &Value) -> bool {
    message["role"] == "assistant"
        && message["content"].is_string()
        && message["content"] == run["content"]
        && OF_TOOLS.iter().all(|field| message[*field].is_null())
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(index: i32, role: &str, content: &str) -> Value {
        json!({
            "index": index, "role": role, "content": content, "message_id": format!("m{index}"),
            "created_at": "2026-01-01T00:00:00Z",
        })
    }

    /// The id of the user's message, the indexes of the steps, and the index of the answer.
    fn split(messages: &[Value]) -> (Value, Vec<Value>, Value) {
        let run = json!({"input": "Hi", "content": "Hello", "created_at": "2026-01-01T00:00:00+00:00"});
        let mut run = RunParts::new(run);
        let mut steps: Vec<Value> = messages.iter().filter_map(|message| run.take(message.clone())).collect();
        let opening = run.opening().unwrap();
        let (step, outcome) = run.end();
        steps.extend(step);
        let steps = steps.iter().map(|step| step["index"].clone()).collect();
        (opening["message_id"].clone(), steps, outcome["answer_index"].clone())
    }

    #[test]
    fn each_message_of_a_run_finds_its_place() {
        let (user, answer) = (message(0, "user", "Hi"), message(1, "assistant", "Hello"));
        assert_eq!(split(&[user.clone(), answer.clone()]), (json!("m0"), vec![], json!(1)));
        assert_eq!(split(std::slice::from_ref(&answer)), (json!(null), vec![], json!(1)), "the user's was deleted");
        assert_eq!(split(std::slice::from_ref(&user)), (json!("m0"), vec![], json!(null)), "the answer was deleted");
        assert_eq!(split(&[]), (json!(null), vec![], json!(null)));
    }

    #[test]
    fn what_is_neither_the_users_nor_the_answer_is_a_step() {
        let user = message(0, "user", "Hi");
        let mut calls = message(1, "assistant", "Hello");
        calls["tool_calls"] = json!([{"id": "c", "name": "f", "arguments": {}}]);
        let result = message(2, "tool", "Hello");
        assert_eq!(split(&[user.clone(), calls, result]), (json!("m0"), vec![json!(1), json!(2)], json!(null)));
        let others = [message(0, "assistant", "Hello"), message(1, "user", "Hi"), message(2, "assistant", "Bye")];
        assert_eq!(split(&others), (json!(null), vec![json!(0), json!(1), json!(2)], json!(null)));
        let twice = [user.clone(), message(1, "user", "Hi"), message(3, "assistant", "Hello")];
        assert_eq!(split(&twice), (json!("m0"), vec![json!(1)], json!(3)));
        let mut later = user;
        later["created_at"] = json!("2026-01-02T00:00:00Z");
        assert_eq!(split(&[later]), (json!(null), vec![json!(0)], json!(null)));
    }
}
