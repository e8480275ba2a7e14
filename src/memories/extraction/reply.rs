//! Parses and validates the model's answer; one bad operation rejects the whole answer.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{Lesson, prompt};
use crate::{
    llm,
    memories::{
        change::{self, Change},
        store::Turn,
    },
    model::{
        Memory,
        memory::{MAX_CHARS, MAX_TOPIC_CHARS, MAX_TOPICS},
    },
    text,
};

const MAX_BYTES: usize = 256 * 1024;
const MAX_OPERATIONS: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// `false` if there is nothing to learn; then the operations are ignored. Small models judge this well, but still
    /// list operations for questions.
    #[serde(default)]
    about_user: Option<bool>,
    operations: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidOperation {
    op: Op,
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    memory: Option<String>,
    #[serde(default)]
    topics: Option<Vec<String>>,
    /// The numbers of messages.
    #[serde(default)]
    turns: Option<Vec<i64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Add,
    Update,
    Delete,
    None,
}

/// An operation with valid indexes: memories and messages that were shown.
#[derive(Debug, PartialEq)]
pub(super) struct Operation {
    kind: Kind,
    topics: Vec<String>,
    /// The messages that say so; empty if none is named.
    messages: Vec<usize>,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Add(String),
    Update(usize, String),
    Delete(usize),
}

/// Parses an answer. The error is a phrase to follow "it".
pub(super) fn parse(said: &str, shown: usize, messages: usize) -> Result<Vec<Operation>, String> {
    if said.len() > MAX_BYTES {
        return Err(format!("is {} bytes long; the most are {MAX_BYTES}", said.len()));
    }
    let operations = match llm::json::find(said).ok_or("holds no JSON")? {
        Value::Array(operations) => operations,
        object @ Value::Object(_) => {
            let said: Said =
                serde_json::from_value(object).map_err(|_| "is not an object with `operations`, a list")?;
            if said.about_user == Some(false) { Vec::new() } else { said.operations }
        }
        _ => return Err("is neither an object nor a list".into()),
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(format!("has {} operations; the most are {MAX_OPERATIONS}", operations.len()));
    }
    operations.into_iter().filter_map(|operation| read(operation, shown, messages).transpose()).collect()
}

fn read(operation: Value, shown: usize, messages: usize) -> Result<Option<Operation>, String> {
    // serde's own message may quote the answer.
    let operation: SaidOperation = serde_json::from_value(operation)
        .map_err(|_| "has an operation with other fields than op, id, memory, topics and turns, or other types")?;
    let memory = operation.memory.as_deref().map(str::trim).filter(|memory| !memory.is_empty());
    let text = || -> Result<String, String> {
        let mut memory = memory.ok_or("has an operation without `memory`")?.to_owned();
        text::replace_nul_in(&mut memory);
        match memory.chars().count() {
            0..=MAX_CHARS => Ok(memory),
            count => Err(format!("has a memory of {count} characters; the most are {MAX_CHARS}")),
        }
    };
    let id = || number(operation.id, shown).ok_or("names an id that is none of the remembered facts' numbers");
    let kind = match operation.op {
        Op::None => return Ok(None),
        Op::Add => Kind::Add(text()?),
        Op::Update => Kind::Update(id()?, text()?),
        Op::Delete => Kind::Delete(id()?),
    };
    let named = operation.turns.unwrap_or_default().into_iter();
    let messages = named
        .map(|named| number(Some(named), messages).ok_or("has in `turns` what is none of the messages' numbers"))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Operation { kind, topics: topics(operation.topics), messages }))
}

/// Converts a number that starts at 1 to an index.
fn number(number: Option<i64>, count: usize) -> Option<usize> {
    let index = usize::try_from(number?.checked_sub(1)?).ok()?;
    (index < count).then_some(index)
}

/// Invalid topics are dropped or cut: they are not worth rejecting the answer.
fn topics(said: Option<Vec<String>>) -> Vec<String> {
    let mut topics: Vec<String> = Vec::new();
    for topic in said.unwrap_or_default() {
        let topic = text::truncate(topic.replace('\0', "").trim(), MAX_TOPIC_CHARS);
        if !topic.is_empty() && !topics.contains(&topic) && topics.len() < MAX_TOPICS {
            topics.push(topic);
        }
    }
    debug_assert!(change::check_topics(&topics).is_ok());
    topics
}

impl Operation {
    /// Resolves the indexes. `None` if that of a memory is out of range.
    pub(super) fn into_lesson(
        self,
        shown: &[Memory],
        turns: &[Turn],
        expires_at: Option<DateTime<Utc>>,
    ) -> Option<Lesson> {
        let Self { kind, topics, messages } = self;
        let (change, old) = match kind {
            Kind::Add(memory) => (Change::Add { memory, topics, expires_at }, None),
            Kind::Update(at, memory) => {
                let old = shown.get(at)?;
                (Change::Replace { memory_id: old.memory_id, memory, topics, expires_at }, Some(old.clone()))
            }
            Kind::Delete(at) => {
                let old = shown.get(at)?;
                (Change::Forget { memory_id: old.memory_id }, Some(old.clone()))
            }
        };
        Some(Lesson { change, old, said_in: said_in(&messages, turns) })
    }
}

/// The named messages: the place of the turn, and that of the message within its run. If none is named, each turn's
/// first message, which is the user's.
fn said_in(named: &[usize], turns: &[Turn]) -> Vec<(usize, i32)> {
    if named.is_empty() {
        let first = |(place, turn): (usize, &Turn)| Some((place, turn.messages.first()?.index));
        return turns.iter().enumerate().filter_map(first).collect();
    }
    let all: Vec<(usize, i32)> = prompt::numbered(turns).map(|(place, said)| (place, said.index)).collect();
    named.iter().filter_map(|named| all.get(*named).copied()).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        clock,
        memories::store::Said,
        model::{Role, SessionId},
    };

    use super::*;

    #[test]
    fn an_answer_is_read_in_any_wrapping() {
        let add =
            Operation { kind: Kind::Add("The user likes tea.".into()), topics: vec!["tea".into()], messages: vec![0] };
        let operation = r#"{"op": "add", "memory": "The user likes tea.", "topics": ["tea"], "turns": [1]}"#;
        for said in [
            format!("{{\"operations\": [{operation}]}}"),
            format!("Sure:\n```json\n[{operation}, {{\"op\": \"none\"}}]\n```"),
        ] {
            assert_eq!(parse(&said, 0, 1).as_deref(), Ok(std::slice::from_ref(&add)), "{said}");
        }
        assert_eq!(parse("{\"operations\": []}", 0, 1), Ok(Vec::new()));
        let about_user = |is: bool| format!("{{\"about_user\": {is}, \"operations\": [{operation}]}}");
        assert_eq!(parse(&about_user(true), 0, 1), Ok(vec![add]));
        assert_eq!(parse(&about_user(false), 0, 1), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_that_names_what_it_was_not_shown_is_refused_whole() {
        for operation in [
            r#"{"op": "update", "id": 3, "memory": "x"}"#,
            r#"{"op": "delete", "id": 0}"#,
            r#"{"op": "delete", "id": "0192d3a4-0000-7000-8000-000000000000"}"#,
            r#"{"op": "add", "memory": "x", "turns": [2]}"#,
            r#"{"op": "add", "memory": "x", "user_id": "eve"}"#,
            r#"{"op": "add"}"#,
            r#"{"op": "clear"}"#,
        ] {
            let good = r#"{"op": "add", "memory": "fine"}"#;
            assert!(parse(&format!("[{good}, {operation}]"), 2, 1).is_err(), "{operation}");
        }
    }

    #[test]
    fn a_memory_comes_from_the_messages_that_are_named_or_else_from_the_users() {
        let said = |(index, role)| Said { index, role, content: "x".into(), created_at: clock::now() };
        let turn = |messages: &[(i32, Role)]| Turn {
            session_id: SessionId::stored("s".into()),
            seq: 1,
            agent_id: "a".into(),
            messages: messages.iter().copied().map(said).collect(),
        };
        let turns = [
            turn(&[(0, Role::User), (3, Role::Assistant), (4, Role::Assistant)]),
            turn(&[(0, Role::User), (1, Role::Assistant)]),
            turn(&[]),
            turn(&[(1, Role::Assistant)]),
        ];
        assert_eq!(said_in(&[], &turns), [(0, 0), (1, 0), (3, 1)]);
        assert_eq!(said_in(&[2, 3, 5], &turns), [(0, 4), (1, 0), (3, 1)]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let long = format!("[{{\"op\": \"add\", \"memory\": \"{}\"}}]", "x".repeat(5_001));
        let many = format!("[{}]", vec![r#"{"op": "none"}"#; 101].join(","));
        for said in ["", "I have nothing to add.", "{\"memories\": []}", &long, &many, &" ".repeat(1 << 20)] {
            assert!(parse(said, 2, 1).is_err());
        }
    }
}
