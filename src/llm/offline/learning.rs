//! Extracts memories from a conversation, with the rules that parse the user's statements.
//!
//! The request comes from `memories::extraction`: the existing memories and the turns, both numbered.

use serde_json::{Value, json};

use super::{
    facts::{self, Statement, Verb},
    text,
};
use crate::llm::{ModelRequest, PromptMessage};

/// The name of the response schema that identifies this request.
pub(super) const RESPONSE_NAME: &str = "memory_operations";

/// Maximum number of operations per answer, and maximum length of a memory in characters.
const MOST_OPERATIONS: usize = 100;
const MOST_CHARS: usize = 5_000;

/// The name of the response schema for merges of memories.
pub(super) const MERGES_NAME: &str = "memory_merges";

/// Always an empty list: these rules cannot merge memories, and duplicates are detected earlier.
pub(super) fn no_merges() -> String {
    json!({ "merges": [] }).to_string()
}

/// `{"operations": […]}`.
pub(super) fn operations(request: &ModelRequest) -> String {
    let prompt = request.messages.iter().find_map(|message| match message {
        PromptMessage::User(content) => Some(text::plain(content)),
        PromptMessage::Assistant { .. } | PromptMessage::Tool { .. } => None,
    });
    let mut lesson = Lesson::read(&prompt.unwrap_or_default());
    for (turn, said) in std::mem::take(&mut lesson.turns) {
        lesson.forget(turn, &said);
        for statement in facts::statements(&said) {
            lesson.learn(turn, &statement);
        }
    }
    lesson.operations.truncate(MOST_OPERATIONS);
    json!({ "operations": lesson.operations }).to_string()
}

#[derive(Default)]
struct Lesson {
    /// Existing memories: number, text, parsed statements.
    remembered: Vec<(u64, String, Vec<Statement>)>,
    /// Turns: number, user's message.
    turns: Vec<(u64, String)>,
    operations: Vec<Value>,
}

impl Lesson {
    fn read(prompt: &str) -> Self {
        let mut lesson = Self::default();
        for line in prompt.lines() {
            if let Some((number, said)) = line.strip_prefix('[').and_then(|line| line.split_once("] user: ")) {
                lesson.turns.extend(number.parse().ok().map(|number| (number, said.to_owned())));
            } else if let Some((number, memory)) = line.split_once(". ")
                && let Ok(number) = number.parse()
            {
                lesson.remembered.push((number, memory.to_owned(), facts::statements_in_note(memory)));
            }
        }
        lesson
    }

    fn learn(&mut self, turn: u64, statement: &Statement) {
        let same = self.remembered.iter().position(|(_, _, known)| known.contains(statement));
        if same.is_some() {
            return;
        }
        let (memory, topic) = in_third_person(statement);
        if memory.chars().count() > MOST_CHARS {
            return;
        }
        let old = self.remembered.iter().position(|(_, _, known)| known.iter().any(|old| replaces(statement, old)));
        let (op, id) = match old.map(|at| self.remembered.remove(at)) {
            Some((id, ..)) => ("update", Some(id)),
            None => ("add", None),
        };
        self.operations.push(json!({ "op": op, "id": id, "memory": memory, "topics": [topic], "turns": [turn] }));
    }

    /// "Forget that I like pizza" deletes every memory that contains all words of the request.
    fn forget(&mut self, turn: u64, said: &str) {
        for sentence in text::sentences(said) {
            let words = text::without_fillers(sentence.text);
            let Some(wish) = ["forget that", "forget about", "forget"].iter().find_map(|f| text::strip_words(words, f))
            else {
                continue;
            };
            let wanted = content_words(wish);
            let is_meant = |memory: &str| !wanted.is_empty() && wanted.is_subset(&content_words(memory));
            let (gone, kept) = std::mem::take(&mut self.remembered).into_iter().partition(|known| is_meant(&known.1));
            self.remembered = kept;
            for (id, ..) in gone {
                let forget = json!({ "op": "delete", "id": id, "memory": null, "topics": [], "turns": [turn] });
                self.operations.push(forget);
            }
        }
    }
}

/// Whether the new statement contradicts the old one, or says more about the same thing.
fn replaces(new: &Statement, old: &Statement) -> bool {
    match (new, old) {
        (Statement::Name(_), Statement::Name(_)) => true,
        (Statement::Attribute { thing, .. }, Statement::Attribute { thing: other, .. }) => {
            text::fold(thing) == text::fold(other)
        }
        (Statement::Activity { verb, object }, Statement::Activity { verb: other, object: known }) => {
            let is_single = matches!(verb, Verb::Live | Verb::Work | Verb::ComeFrom);
            verb == other && (is_single || facts::head(object) == facts::head(known))
        }
        (Statement::Activity { verb: Verb::Like, object }, Statement::Dislike(known))
        | (
            Statement::Dislike(object),
            Statement::Activity { verb: Verb::Like, object: known } | Statement::Dislike(known),
        ) => facts::head(object) == facts::head(known),
        _ => false,
    }
}

/// The sentence of the memory, and its topic.
fn in_third_person(statement: &Statement) -> (String, String) {
    match statement {
        Statement::Name(name) => (format!("The user's name is {name}."), "name".into()),
        Statement::Attribute { thing, predicate } => (format!("The user's {thing} {predicate}."), text::fold(thing)),
        Statement::Activity { verb, object } => {
            let (said, topic) = match verb {
                Verb::Like => ("likes", "preferences"),
                Verb::Prefer => ("prefers", "preferences"),
                Verb::Live => ("lives", "home"),
                Verb::Work => ("works", "work"),
                Verb::Study => ("studies", "work"),
                Verb::Play => ("plays", "hobbies"),
                Verb::Speak => ("speaks", "languages"),
                Verb::Own => ("owns", "possessions"),
                Verb::Drive => ("drives", "possessions"),
                Verb::Have => ("has", "possessions"),
                Verb::ComeFrom => ("is from", "home"),
            };
            (format!("The user {said} {object}."), topic.into())
        }
        Statement::Dislike(object) => (format!("The user doesn't like {object}."), "preferences".into()),
    }
}

fn content_words(text: &str) -> std::collections::BTreeSet<String> {
    const EMPTY: [&str; 12] = ["i", "my", "me", "the", "a", "an", "user", "is", "am", "that", "what", "s"];
    text::fold(text)
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !EMPTY.contains(word))
        // Singular and plural are equal: "I like" and "the user likes".
        .map(|word| if word.len() > 3 { word.trim_end_matches('s').to_owned() } else { word.to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::ResponseSchema;

    fn operations_for(remembered: &str, said: &str) -> Vec<Value> {
        let prompt = format!(
            "<remembered>\n{remembered}\n</remembered>\n\n<conversation>\n[1] Monday, 8 May 2023\n[1] user: {said}\n[1] assistant: I like it too.\n</conversation>"
        );
        let request = ModelRequest {
            messages: vec![PromptMessage::User(prompt)],
            response: Some(ResponseSchema { name: RESPONSE_NAME, schema: Value::Null }),
            ..ModelRequest::default()
        };
        let answer: Value = serde_json::from_str(&operations(&request)).unwrap();
        answer["operations"].as_array().unwrap().clone()
    }

    #[test]
    fn what_the_user_states_is_remembered() {
        let learned = operations_for("", "I love pizza, especially margherita");
        assert_eq!(learned.len(), 1);
        assert_eq!(learned[0]["memory"], "The user likes pizza, especially margherita.");
        assert_eq!((&learned[0]["op"], &learned[0]["turns"]), (&json!("add"), &json!([1])));
    }

    #[test]
    fn no_more_is_learned_than_is_taken() {
        let many: Vec<String> = (0..150).map(|number| format!("I like song number {number}.")).collect();
        assert_eq!(operations_for("", &many.join(" ")).len(), MOST_OPERATIONS);
        let long = format!("I like {}. I like tea.", "very ".repeat(2_000));
        assert_eq!(operations_for("", &long).len(), 1);
    }

    #[test]
    fn questions_and_small_talk_teach_nothing() {
        for said in ["What is the capital of France?", "Do I like pizza?", "Thanks, bye!", "Write me a poem about tea"]
        {
            assert_eq!(operations_for("", said), [Value::Null; 0], "{said}");
        }
    }

    #[test]
    fn what_is_known_is_not_added_and_what_changed_is_updated() {
        let remembered = "1. The user's name is Ann.\n2. The user lives in Oslo.\n3. The user likes rain.";
        assert_eq!(operations_for(remembered, "My name is Ann and I live in Oslo"), [Value::Null; 0]);
        let learned = operations_for(remembered, "I live in Bergen now. I don't like rain anymore.");
        assert_eq!((&learned[0]["op"], &learned[0]["id"]), (&json!("update"), &json!(2)));
        assert_eq!((&learned[1]["op"], &learned[1]["id"]), (&json!("update"), &json!(3)));
    }

    #[test]
    fn what_is_to_be_forgotten_is_deleted() {
        let remembered = "1. The user likes pizza, especially margherita.\n2. The user's name is Ann.";
        let learned = operations_for(remembered, "Please forget that I like pizza.");
        assert_eq!((learned.len(), &learned[0]["op"], &learned[0]["id"]), (1, &json!("delete"), &json!(1)));
    }
}
