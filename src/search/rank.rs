//! What else speaks for a hit, beside its words: pure functions of what the store has found.
//!
//! Scores are added with weights, not ranks: joining ranks was measured to be worse than BM25 alone. Every addition is
//! bounded, so that none can outweigh the words by itself. The weights were tuned on long conversations of two people
//! (`benches/retrieval`).

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{
    dates::{self, NamedDate},
    model::{Item, Parts, Place},
    store::{Match, Nearby},
};
use crate::{config::SearchWeights, memories::MemoryId, runs::Role};

/// How many of a session's best turns speak for it.
const BEST_OF_SESSION: usize = 2;
/// How many rows are weighed for their vectors alone, and the first of which is no nearer than rows are by chance.
pub const MOST_NEAR: usize = 100;

/// What the store has found for a question.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Rows with words of the question, best first.
    pub matches: Vec<Match>,
    /// Rows whose vectors are near that of the question, nearest first. Absent: there are no vectors.
    pub near: Option<Vec<Match>>,
    /// The turns that matching memories were drawn from.
    pub sources: Vec<(MemoryId, Place)>,
    /// The turns that match or are such sources; `nearby` counts them.
    pub places: Vec<Place>,
    pub nearby: Vec<Nearby>,
}

/// A row with its score, in parts.
#[derive(Clone, Debug)]
pub struct Ranked {
    pub item: Item,
    pub parts: Parts,
    pub created_at: DateTime<Utc>,
}

/// All rows that anything speaks for, best first.
pub fn rank(question: &str, now: DateTime<Utc>, evidence: &Evidence, weights: &SearchWeights) -> Vec<Ranked> {
    let texts = Texts::of(evidence, weights);
    let dates = dates::named_in(question, now);
    let mut ranked = rank_turns(question, &dates, evidence, &texts, weights);
    for (item, (parts, created_at)) in texts.0 {
        if let Item::Memory(_) = item {
            let date = weights.date * dates::fit(&dates, created_at);
            // A memory asks nothing.
            let parts = Parts { date, statement: weights.statement, ..parts };
            ranked.push(Ranked { item: item.clone(), parts, created_at });
        }
    }
    // The order is total, so that the same question always has the same answer.
    ranked.sort_by(|one, other| {
        let by_score = other.parts.sum().total_cmp(&one.parts.sum());
        by_score.then_with(|| other.created_at.cmp(&one.created_at)).then_with(|| one.item.cmp(&other.item))
    });
    ranked
}

/// What each text has by itself: its words, and what it is about.
struct Texts<'a>(HashMap<&'a Item, (Parts, DateTime<Utc>)>);

impl<'a> Texts<'a> {
    /// Both are shares of their best, so that neither's unit counts; together the best text has 1 at most. All texts are
    /// near each other to some degree, and how much depends on the model: what is no nearer than many others counts as not
    /// near at all.
    fn of(evidence: &'a Evidence, weights: &SearchWeights) -> Self {
        let vector_weight = if evidence.near.is_some() { weights.vector } else { 0.0 };
        let mut texts: HashMap<&Item, (Parts, DateTime<Utc>)> = HashMap::new();
        for (found, share) in shares(&evidence.matches, 0.0) {
            let (parts, _) = texts.entry(&found.item).or_insert((Parts::default(), found.created_at));
            parts.keyword = (1.0 - vector_weight) * share;
        }
        let near = evidence.near.as_deref().unwrap_or_default();
        let by_chance = near.get(MOST_NEAR - 1).map_or(0.0, |last| last.score);
        for (found, share) in shares(near, by_chance) {
            let (parts, _) = texts.entry(&found.item).or_insert((Parts::default(), found.created_at));
            parts.vector = vector_weight * share;
        }
        Self(texts)
    }

    fn parts(&self, item: &Item) -> Parts {
        self.0.get(item).map(|(parts, _)| *parts).unwrap_or_default()
    }
}

/// Each with its share of what the best has above the floor, unless all are there.
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
    let own = |place: &Place| Parts {
        memory: weights.memory * by_memory.get(place).copied().unwrap_or_default(),
        ..texts.parts(&Item::Message(place.clone()))
    };
    let strengths: Vec<f64> = evidence.places.iter().map(|place| own(place).sum()).collect();
    let sessions = session_strengths(&evidence.places, &strengths);
    let mut turns: HashMap<&Place, (Parts, f64, &Nearby)> = HashMap::new();
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

/// For each turn, the best of the memories that were drawn from it.
fn best_memories<'a>(evidence: &'a Evidence, texts: &Texts<'_>) -> HashMap<&'a Place, f64> {
    let mut best = HashMap::new();
    for (memory_id, place) in &evidence.sources {
        let score = texts.parts(&Item::Memory(*memory_id)).sum();
        let known = best.entry(place).or_insert(0.0);
        *known = f64::max(*known, score);
    }
    best
}

/// The mean of each session's best turns; a session of fewer turns has that much less.
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

/// Who speaks in a turn of a conversation of several people, which is written `Ann: Hello`.
fn speaker(opening: &str) -> Option<&str> {
    let (name, rest) = opening.split_once(':')?;
    let is_name = name.len() <= LONGEST_NAME
        && rest.starts_with(char::is_whitespace)
        && name
            .split(' ')
            .all(|word| word.chars().next().is_some_and(|first| first.is_alphabetic() && !first.is_lowercase()));
    is_name.then_some(name)
}

/// The one speaker whom the question names; where it names several, none is preferred.
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
