//! Replies that the conversation can answer, and an honest reply to everything else.

mod questions;

use super::{
    Conversation,
    facts::{self, Facts, Statement, Verb},
    text,
};

/// Maximum length of a quotation of the user in a reply, in characters.
const LONGEST_QUOTE: usize = 400;
const LONGEST_ECHO: usize = 120;

/// Maximum number of questions per message that are answered.
const MOST_QUESTIONS: usize = 10;

pub(super) fn answer(conversation: &Conversation) -> String {
    let replies = answered_questions(conversation);
    if !replies.is_empty() {
        return replies.join(" ");
    }
    let noted = acknowledgements(conversation);
    if !noted.is_empty() {
        return noted.join(" ");
    }
    admit(conversation)
}

/// Whether the message asks for earlier messages, but the conversation has none.
pub(super) fn lacks_earlier_messages(conversation: &Conversation) -> bool {
    let asks = |question: &String| questions::about_earlier(question).is_some();
    conversation.earlier.is_empty() && questions_in(&conversation.current).iter().any(asks)
}

/// The reply to a question about earlier messages, quoted from `earlier`. `None` if the message asks no such question,
/// or nothing matches.
pub(super) fn quote_earlier(message: &str, earlier: &[String]) -> Option<String> {
    questions_in(message).iter().find_map(|question| quote(&questions::about_earlier(question)?, earlier, None))
}

fn answered_questions(conversation: &Conversation) -> Vec<String> {
    let mut replies: Vec<String> = Vec::new();
    for question in questions_in(&conversation.current) {
        if let Some(reply) = answer_question(&question, conversation)
            && !replies.contains(&reply)
        {
            replies.push(reply);
        }
    }
    replies
}

/// The questions in a message, lowercased and without their fillers.
fn questions_in(message: &str) -> Vec<String> {
    let message = text::plain(message);
    let sentences = text::sentences(&message).into_iter().filter(|sentence| sentence.is_question);
    let clauses = sentences.flat_map(|sentence| text::clauses(sentence.text));
    clauses.map(|clause| text::fold(text::without_fillers(clause))).take(MOST_QUESTIONS).collect()
}

fn answer_question(question: &str, conversation: &Conversation) -> Option<String> {
    if let Some(which) = questions::about_earlier(question) {
        let reply = quote(&which, &conversation.earlier, conversation.last_reply.as_deref());
        return Some(reply.unwrap_or_else(|| "This conversation holds no earlier message.".into()));
    }
    let known = &conversation.known;
    if questions::asks_for_name(question) {
        return Some(match known.name() {
            Some(name) => format!("Your name is {name}."),
            None => "I don't know your name: nothing that I was shown of this conversation says it.".into(),
        });
    }
    if questions::asks_for_all(question) {
        return Some(all_that_is_known(known));
    }
    if let Some(when) = questions::asks_for_suggestion(question) {
        return Some(suggest(known, when));
    }
    if let Some(thing) = questions::liked_thing(question) {
        return Some(whether_liked(known, thing));
    }
    if let Some((verb, subject)) = questions::activity(question) {
        return Some(name_objects(known, verb, subject));
    }
    questions::attribute(question).map(|thing| tell_attribute(known, thing))
}

fn tell_attribute(known: &Facts, asked: &str) -> String {
    let Some((said, predicate)) = known.attribute(asked) else {
        return format!("I don't know your {asked}: nothing that I was shown of this conversation says it.");
    };
    // Use the words of the question, unless singular and plural differ: one color "is", two colors "are".
    let thing = if said.ends_with('s') == asked.ends_with('s') { asked } else { said };
    format!("Your {thing} {predicate}.")
}

fn quote(which: &questions::Earlier, earlier: &[String], last_reply: Option<&str>) -> Option<String> {
    let quoted = |message: &str| text::quote(message, LONGEST_QUOTE);
    match which {
        questions::Earlier::First => earlier.first().map(|message| format!("You first said: {}", quoted(message))),
        questions::Earlier::Last => earlier.last().map(|message| format!("You last said: {}", quoted(message))),
        questions::Earlier::All if earlier.is_empty() => None,
        questions::Earlier::All => {
            let all: Vec<String> = earlier.iter().map(|message| quoted(message)).collect();
            Some(format!("You said: {}", all.join(", ")))
        }
        questions::Earlier::About(topic) => {
            let about = earlier.iter().rev().find(|message| text::fold(&text::plain(message)).contains(topic));
            about.map(|message| format!("You said: {}", quoted(message)))
        }
        questions::Earlier::Reply => last_reply.map(|reply| format!("I last said: {}", quoted(reply))),
    }
}

fn name_objects(known: &Facts, verb: Verb, subject: Option<&str>) -> String {
    let mut objects = known.objects(verb);
    if objects.is_empty() {
        let favorite = subject.and_then(|subject| known.attribute(&format!("favorite {subject}")));
        objects
            .extend(favorite.and_then(|(_, predicate)| predicate.split_once(' ')).map(|(_, value)| value.to_owned()));
    }
    if objects.is_empty() && verb == Verb::Like && !known.objects(Verb::Prefer).is_empty() {
        return name_objects(known, Verb::Prefer, subject);
    }
    if objects.is_empty() {
        let (what, word) = (verb.question_word(), verb.word());
        return format!("I don't know {what} you {word}: nothing that I was shown of this conversation says it.");
    }
    format!("You {} {}.", verb.word(), text::enumerate(&objects))
}

fn whether_liked(known: &Facts, thing: &str) -> String {
    let is_about = |object: &&String| facts::head(object) == thing || text::fold(object) == thing;
    if let Some(liked) = known.objects(Verb::Like).iter().find(is_about) {
        return format!("Yes, you like {liked}.");
    }
    if let Some(disliked) = known.dislikes().iter().find(is_about) {
        return format!("No, you said that you don't like {disliked}.");
    }
    format!("I don't know whether you like {thing}: nothing that I was shown of this conversation says it.")
}

fn suggest(known: &Facts, when: &str) -> String {
    match known.objects(Verb::Like).last() {
        Some(liked) => format!("You like {liked}: how about making time for that{when}?"),
        None => {
            "I know nothing yet of what you like, so I have nothing to suggest: tell me something you enjoy.".into()
        }
    }
}

fn all_that_is_known(known: &Facts) -> String {
    let name = known.name().map(|name| format!("your name is {name}"));
    let attributes = known.attributes().iter().map(|(thing, predicate)| format!("your {thing} {predicate}"));
    let activities = known.activities().iter().map(|(verb, object)| format!("you {} {object}", verb.word()));
    let dislikes = known.dislikes().iter().map(|object| format!("you don't like {object}"));
    let all: Vec<String> = name.into_iter().chain(attributes).chain(activities).chain(dislikes).collect();
    if all.is_empty() {
        return "I know nothing of you yet: nothing that I was shown of this conversation says it.".into();
    }
    format!("This is what I know: {}.", text::enumerate(&all))
}

fn acknowledgements(conversation: &Conversation) -> Vec<String> {
    let is_new_here = conversation.known_before.name().is_none();
    let acknowledge = |statement| match statement {
        Statement::Name(name) if is_new_here => format!("Nice to meet you, {name}."),
        Statement::Name(name) => format!("Noted: your name is {name}."),
        Statement::Attribute { thing, predicate } => format!("Noted: your {thing} {predicate}."),
        Statement::Activity { verb, object } => format!("Noted: you {} {object}.", verb.word()),
        Statement::Dislike(object) => format!("Noted: you don't like {object}."),
    };
    facts::statements(&conversation.current).into_iter().map(acknowledge).collect()
}

/// The fallback: what was said, why there is no better answer, and how to get one.
fn admit(conversation: &Conversation) -> String {
    const WHY: &str = "I am the built-in offline responder and answer from the conversation alone. \
                       Configure a model, for example by OPENAI_API_KEY, to get real answers.";
    let message = text::plain(&conversation.current);
    let words = text::fold(text::trim(&message));
    if words.is_empty() {
        return format!("Your message is empty. By the way, {WHY}");
    }
    if ["hi", "hello", "hey", "hi there", "hello there", "good morning", "good evening"].contains(&words.as_str()) {
        let whom = conversation.known.name().map(|name| format!(", {name}")).unwrap_or_default();
        return format!("Hello{whom}! By the way, {WHY}");
    }
    if ["tell me more", "more", "go on", "continue", "please continue", "and then"].contains(&words.as_str())
        && let Some(before) = conversation.earlier.last()
    {
        return format!("Before that you said {}. I cannot say more: {WHY}", text::quote(before, LONGEST_ECHO));
    }
    let echo = text::quote(&message, LONGEST_ECHO);
    let asks = text::sentences(&message).iter().any(|sentence| sentence.is_question);
    if asks { format!("I cannot answer {echo}: {WHY}") } else { format!("You said {echo}. I cannot say more: {WHY}") }
}
