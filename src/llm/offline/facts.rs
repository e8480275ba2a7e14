//! Facts about the user, from their own messages and from notes about them.
//!
//! Only statements count: "Do I like pizza?" teaches nothing. A later statement replaces an earlier one about the same
//! thing. Notes ("The user likes pizza") are put into the first person and parsed by the same rules.

mod notes;
mod parse;

use super::text;

/// Maximum number of facts of each kind; the oldest is dropped.
const MOST_FACTS: usize = 100;

/// All that is known of the user.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    name: Option<String>,
    /// "color" and "is blue", from "my color is blue"; the latest is last.
    attributes: Vec<(String, String)>,
    /// Verb and object, from "I like tea" or "I live in Oslo"; the latest is last.
    activities: Vec<(Verb, String)>,
    dislikes: Vec<String>,
}

/// The content of one statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    Name(String),
    Attribute { thing: String, predicate: String },
    Activity { verb: Verb, object: String },
    Dislike(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Like,
    Prefer,
    Live,
    Work,
    Study,
    Play,
    Speak,
    Own,
    Drive,
    Have,
    ComeFrom,
}

impl Verb {
    /// The words for each verb. Replies use the first one; see [`Verb::word`] for the exception.
    const WORDS: [(&'static str, Self); 19] = [
        ("like", Self::Like),
        ("love", Self::Like),
        ("enjoy", Self::Like),
        ("adore", Self::Like),
        ("am a big fan of", Self::Like),
        ("am a huge fan of", Self::Like),
        ("am a fan of", Self::Like),
        ("am into", Self::Like),
        ("prefer", Self::Prefer),
        ("live", Self::Live),
        ("work", Self::Work),
        ("study", Self::Study),
        ("play", Self::Play),
        ("speak", Self::Speak),
        ("own", Self::Own),
        ("drive", Self::Drive),
        ("have", Self::Have),
        ("come from", Self::ComeFrom),
        ("am from", Self::ComeFrom),
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ComeFrom => "come from",
            other => Self::WORDS.iter().find(|(_, verb)| *verb == other).map_or("", |(word, _)| word),
        }
    }

    /// The word that asks for the object: "where do you live", "what do you play".
    pub(super) fn question_word(self) -> &'static str {
        if matches!(self, Self::Live | Self::Work | Self::ComeFrom) { "where" } else { "what" }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, verb)| *verb)
    }
}

impl Facts {
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The thing and its predicate, as said after "my".
    pub(super) fn attribute(&self, thing: &str) -> Option<&(String, String)> {
        let key = attribute_key(thing);
        self.attributes.iter().find(|(known, _)| attribute_key(known) == key)
    }

    pub(super) fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// The objects of this verb: everything that the user likes, plays or has.
    pub(super) fn objects(&self, verb: Verb) -> Vec<String> {
        self.activities.iter().filter(|(known, _)| *known == verb).map(|(_, object)| object.clone()).collect()
    }

    pub(super) fn activities(&self) -> &[(Verb, String)] {
        &self.activities
    }

    pub(super) fn dislikes(&self) -> &[String] {
        &self.dislikes
    }

    pub(super) fn learn_from_user(&mut self, message: &str) {
        for statement in statements(message) {
            self.learn(statement);
        }
    }

    /// Learns from memories, summaries and similar text, line by line.
    pub(super) fn learn_from_notes(&mut self, notes: &str) {
        for line in notes.lines() {
            let line = text::plain(line);
            if let Some(line) = spoken_by_user(&line) {
                for sentence in text::sentences(line) {
                    let said = notes::in_first_person(sentence.text, self.name());
                    self.learn_from_user(&said);
                }
            }
        }
    }

    fn learn(&mut self, statement: Statement) {
        match statement {
            Statement::Name(name) => self.name = Some(name),
            Statement::Attribute { thing, predicate } => {
                self.attributes.retain(|(known, _)| attribute_key(known) != attribute_key(&thing));
                remember(&mut self.attributes, (thing, predicate));
            }
            Statement::Activity { verb, object } => {
                self.dislikes.retain(|known| head(known) != head(&object));
                self.forget_activity(verb, &object);
                remember(&mut self.activities, (verb, object));
            }
            Statement::Dislike(object) => {
                self.forget_activity(Verb::Like, &object);
                self.dislikes.retain(|known| head(known) != head(&object));
                remember(&mut self.dislikes, object);
            }
        }
    }

    /// A user lives, works and comes from one place each, so any other object replaces the old one. Other verbs have
    /// many objects, and only an equal one is replaced.
    fn forget_activity(&mut self, verb: Verb, object: &str) {
        let is_single = matches!(verb, Verb::Live | Verb::Work | Verb::ComeFrom);
        self.activities.retain(|(known, other)| *known != verb || !(is_single || head(other) == head(object)));
    }
}

fn remember<T>(facts: &mut Vec<T>, fact: T) {
    if facts.len() == MOST_FACTS {
        facts.remove(0);
    }
    facts.push(fact);
}

/// The writer's statements about themselves, in order.
pub(super) fn statements(message: &str) -> Vec<Statement> {
    let message = text::plain(message);
    let mut found = Vec::new();
    for sentence in text::sentences(&message) {
        let mut clauses = text::clauses(sentence.text);
        if sentence.is_question {
            // In "My name is Ann, can you remember that?" only the last part asks.
            let asking = clauses.pop().and_then(requested);
            clauses.extend(asking);
        }
        let clauses = clauses.into_iter().map(text::without_fillers);
        found.extend(clauses.filter(|clause| !opens_with_question(clause)).filter_map(parse::statement));
    }
    found
}

/// The statements of a note about the user, as if the user had made them.
pub(super) fn statements_in_note(note: &str) -> Vec<Statement> {
    let note = text::plain(note);
    let sentences = text::sentences(&note);
    sentences.iter().flat_map(|sentence| statements(&notes::in_first_person(sentence.text, None))).collect()
}

/// The statement in a request: "can you remember that I like tea" states "I like tea".
fn requested(clause: &str) -> Option<&str> {
    let openers = ["can you", "could you", "would you", "will you"];
    openers.iter().find_map(|opener| text::strip_words(text::without_fillers(clause), opener))
}

fn opens_with_question(clause: &str) -> bool {
    text::sentences(clause).first().is_some_and(|sentence| sentence.is_question)
}

/// Notes may contain a transcript: the assistant's lines in it are no facts about the user.
fn spoken_by_user(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || "-*•#>".contains(c));
    let said = |speaker| text::strip_words(line, speaker).filter(|_| line[speaker.len()..].starts_with(':'));
    if said("assistant").is_some() || said("agent").is_some() || line.starts_with('<') {
        return None;
    }
    Some(said("user").unwrap_or(line))
}

/// Normalizes a name: "Favourite Colours" and "favorite color" are equal.
fn attribute_key(thing: &str) -> String {
    let key = text::fold(thing).replace("favourite", "favorite").replace("colour", "color");
    key.strip_suffix('s').map(str::to_owned).unwrap_or(key)
}

/// The object without details: "pizza, especially margherita" is about "pizza".
pub(super) fn head(object: &str) -> String {
    let folded = text::fold(object);
    let head = folded.split([',', '(', ';']).next().unwrap_or_default();
    let head = head.split(" especially ").next().unwrap_or_default();
    text::trim(head).to_owned()
}
