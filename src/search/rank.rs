//! Scoring beyond BM25: pure functions of the evidence that the store has found.
//!
//! Weighted scores are added, because rank fusion measured worse than BM25 alone. Every bonus is bounded, so that none
//! outweighs the words by itself. The weights were tuned on long conversations of two people (`benches/retrieval`).

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{
    dates::{self, NamedDate},
    model::{Item, Place},
    store::{Match, Nearby},
};
use crate::{
    config::SearchWeights,
    model::{MemoryId, Role, ScoreParts},
};

/// How many of a session's best turns make up the score of the session.
const BEST_OF_SESSION: usize = 2;
/// How many of the nearest rows are scored by their vectors. The last of these is the noise floor: similarity by
/// chance.
pub const MOST_NEAR: usize = 100;

/// All that the store has found for a question.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Rows that contain words of the question, best first.
    pub matches: Vec<Match>,
    /// Rows with the vectors nearest to the question's, nearest first. `None` without vectors.
    pub near: Option<Vec<Match>>,
    /// The turns that the matching memories come from.
    pub sources: Vec<(MemoryId, Place)>,
    /// The turns that match, and those of `sources`; [`Nearby::of`] is an index into these.
    pub places: Vec<Place>,
    pub nearby: Vec<Nearby>,
}

/// A row with the parts of its score.
#[derive(Clone, Debug)]
pub struct Ranked {
    pub item: Item,
    pub parts: ScoreParts,
    pub created_at: DateTime<Utc>,
}

/// All rows with any evidence, best first.
pub fn rank(question: &str, now: DateTime<Utc>, evidence: &Evidence, weights: &SearchWeights) -> Vec<Ranked> {
    let texts = Texts::of(evidence, weights);
    let dates = dates::named_in(question, now);
    let mut ranked = rank_turns(question, &dates, evidence, &texts, weights);
    for (item, (parts, created_at)) in texts.0 {
        if let Item::Memory(_) = item {
            let date = weights.date * dates::fit(&dates, created_at);
            // A memory is never a question, so it always gets the bonus for statements.
            let parts = ScoreParts { date, statement: weights.statement, ..parts };
            ranked.push(Ranked { item: item.clone(), parts, created_at });
        }
    }
    // A total order, so that the same question always has the same answer.
    ranked.sort_by(|one, other| {
        let by_score = other.parts.sum().total_cmp(&one.parts.sum());
        by_score.then_with(|| other.created_at.cmp(&one.created_at)).then_with(|| one.item.cmp(&other.item))
    });
    ranked
}

/// The own score of each text: by its words and by its vector.
struct Texts<'a>(HashMap<&'a Item, (ScoreParts, DateTime<Utc>)>);

impl<'a> Texts<'a> {
    /// Both scores are divided by their maximum, so that units do not matter; together they are at most 1. All vectors
    /// are similar to some degree, which depends on the model: a row no nearer than the [`MOST_NEAR`]th nearest gets 0.
    fn of(evidence: &'a Evidence, weights: &SearchWeights) -> Self {
        let vector_weight = if evidence.near.is_some() { weights.vector } else { 0.0 };
        let mut texts: HashMap<&Item, (ScoreParts, DateTime<Utc>)> = HashMap::new();
        for (found, share) in shares(&evidence.matches, 0.0) {
            let (parts, _) = texts.entry(&found.item).or_insert((ScoreParts::default(), found.created_at));
            parts.keyword = (1.0 - vector_weight) * share;
        }
        let near = evidence.near.as_deref().unwrap_or_default();
        let by_chance = near.get(MOST_NEAR - 1).map_or(0.0, |last| last.score);
        for (found, share) in shares(near, by_chance) {
            let (parts, _) = texts.entry(&found.item).or_insert((ScoreParts::default(), found.created_at));
            parts.vector = vector_weight * share;
        }
        Self(texts)
    }

    fn parts(&self, item: &Item) -> ScoreParts {
        self.0.get(item).map(|(parts, _)| *parts).unwrap_or_default()
    }
}

/// Scales the scores to 0 at the floor and 1 at the best. A floor that even the best does not exceed is ignored.
fn shares(found: &[Match], floor: f64) -> impl Iterator<Item = (&Match, f64)> {
    let best = found.first().map_or(1.0, |best| best.score).max(f64::MIN_POSITIVE);
    let floor = if floor < best { floor } else { 0.0 };
    found.iter().map(move |found| (found, ((found.score - floor) / (best - floor)).max(0.0)))
}

fn rank_turns(
    question: &str,
    dates: &[NamedDate],
    evidence: &Evidence,
    texts: &Texts<'_>,
    weights: &SearchWeights,
) -> Vec<Ranked> {
    let by_memory = best_memories(evidence, texts);
    let own = |place: &Place| ScoreParts {
        memory: weights.memory * by_memory.get(place).copied().unwrap_or_default(),
        ..texts.parts(&Item::Message(place.clone()))
    };
    let strengths: Vec<f64> = evidence.places.iter().map(|place| own(place).sum()).collect();
    let sessions = session_strengths(&evidence.places, &strengths);
    let mut turns: HashMap<&Place, (ScoreParts, f64, &Nearby)> = HashMap::new();
    for near in &evidence.nearby {
        let strength = strengths.get(near.of).copied().unwrap_or_default();
        let (parts, second, _) = turns.entry(&near.place).or_insert_with(|| (own(&near.place), 0.0, near));
        match near.distance {
            -1 | 1 => parts.neighbour += weights.neighbour * strength,
            -2 | 2 => *second = f64::max(*second, weights.second_neighbour * strength),
            _ => {}
        }
    }
    let speakers: Vec<&str> = turns.values().filter_map(|(_, _, near)| speaker(&near.opening)).collect();
    let named = named_speaker(question, &speakers);
    let turns = turns.into_iter().map(|(place, (mut parts, second, near))| {
        parts.neighbour += second;
        parts.session = weights.session * sessions.get(place.session_id.as_str()).copied().unwrap_or_default();
        parts.date = weights.date * dates::fit(dates, near.created_at);
        match speaker(&near.opening) {
            Some(speaker) if named.as_deref() == Some(speaker) => parts.speaker = weights.speaker,
            None if near.role == Role::User => parts.role = weights.role,
            _ => {}
        }
        if !near.asks {
            parts.statement = weights.statement;
        }
        Ranked { item: Item::Message(place.clone()), parts, created_at: near.created_at }
    });
    turns.collect()
}

/// For each turn, the best score of the memories that come from it.
fn best_memories<'a>(evidence: &'a Evidence, texts: &Texts<'_>) -> HashMap<&'a Place, f64> {
    let mut best = HashMap::new();
    for (memory_id, place) in &evidence.sources {
        let score = texts.parts(&Item::Memory(*memory_id)).sum();
        let known = best.entry(place).or_insert(0.0);
        *known = f64::max(*known, score);
    }
    best
}

/// The mean of each session's [`BEST_OF_SESSION`] best turns; missing turns count as 0.
fn session_strengths<'a>(places: &'a [Place], strengths: &[f64]) -> HashMap<&'a str, f64> {
    let mut by_session: HashMap<&str, Vec<f64>> = HashMap::new();
    for (place, strength) in places.iter().zip(strengths) {
        by_session.entry(&place.session_id).or_default().push(*strength);
    }
    let mean_of_best = |mut strengths: Vec<f64>| {
        strengths.sort_by(|one, other| other.total_cmp(one));
        #[expect(clippy::cast_precision_loss, reason = "the number is small")]
        let count = BEST_OF_SESSION as f64;
        strengths.iter().take(BEST_OF_SESSION).sum::<f64>() / count
    };
    by_session.into_iter().map(|(session, strengths)| (session, mean_of_best(strengths))).collect()
}

const LONGEST_NAME: usize = 40;

/// The speaker of a turn in a conversation of several people, written as `Ann: Hello`.
fn speaker(opening: &str) -> Option<&str> {
    let (name, rest) = opening.split_once(':')?;
    let is_name = name.len() <= LONGEST_NAME
        && rest.starts_with(char::is_whitespace)
        && name
            .split(' ')
            .all(|word| word.chars().next().is_some_and(|first| first.is_alphabetic() && !first.is_lowercase()));
    is_name.then_some(name)
}

/// The speaker that the question names; `None` if it names several.
fn named_speaker(question: &str, speakers: &[&str]) -> Option<String> {
    let question = question.to_lowercase();
    let words: Vec<&str> = question.split(|c: char| !c.is_alphanumeric()).collect();
    let is_named = |speaker: &str| {
        let speaker = speaker.to_lowercase();
        let name: Vec<&str> = speaker.split(' ').collect();
        words.windows(name.len()).any(|window| window == name)
    };
    let mut named: Vec<&str> = speakers.iter().copied().filter(|speaker| is_named(speaker)).collect();
    named.sort_unstable();
    named.dedup();
    match named[..] {
        [only] => Some(only.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
