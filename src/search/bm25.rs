//! BM25: how well a text matches the words of a question, relative to all texts of a collection.

use std::collections::HashMap;

use super::{
    statistics::Size,
    store::{Match, Row},
};
use crate::config::SearchSettings;

/// The distinct words of a question.
#[derive(Debug)]
pub struct Question<'a> {
    words: HashMap<&'a [u8], usize>,
}

/// Term frequencies of a text, for the words of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// Index of a word of the question, and its frequency.
    counts: Vec<(usize, u16)>,
    /// The number of distinct words in the text, used as its length.
    length: u32,
}

impl<'a> Question<'a> {
    pub fn new(words: &'a [String]) -> Self {
        Self { words: words.iter().enumerate().map(|(n, word)| (word.as_bytes(), n)).collect() }
    }

    /// Parses the binary form of a `tsvector`, big-endian: the number of words; for each word its text, a NUL byte, the
    /// number of positions, and the positions with two bytes each. `None` if it is malformed.
    pub fn occurrences(&self, vector: &[u8]) -> Option<Occurrences> {
        let (length, mut rest) = vector.split_first_chunk()?;
        let length = u32::from_be_bytes(*length);
        let mut counts = Vec::new();
        for _ in 0..length {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let (positions, behind) = rest[end + 1..].split_first_chunk()?;
            let positions = u16::from_be_bytes(*positions);
            if let Some(n) = self.words.get(&rest[..end]) {
                // A word whose positions were stripped occurs at least once.
                counts.push((*n, positions.max(1)));
            }
            rest = behind.get(2 * usize::from(positions)..)?;
        }
        Some(Occurrences { counts, length })
    }
}

/// The `limit` best rows, best first. `found` must hold all rows of the collection with at least one word that is not
/// in `size.common`: the document frequencies of these words are counted in it.
pub fn best(found: Vec<Row>, words: &[String], size: &Size, settings: &SearchSettings, limit: usize) -> Vec<Match> {
    let rarity = rarity(&found, words, size);
    let of_mean = as_f64(size.texts) / as_f64(size.words.max(1));
    let SearchSettings { k1, b, .. } = *settings;
    let score = |occurrences: &Occurrences| {
        let length = 1.0 - b + b * f64::from(occurrences.length) * of_mean;
        let of_word = |(n, count): &(usize, u16)| {
            let count = f64::from(*count);
            rarity[*n] * count * (k1 + 1.0) / (count + k1 * length)
        };
        occurrences.counts.iter().map(of_word).sum()
    };
    let scored = |Row { item, created_at, occurrences }| Match { item, score: score(&occurrences), created_at };
    let mut matches: Vec<Match> = found.into_iter().map(scored).collect();
    // A total order, so that the same question always has the same answer.
    let order = |one: &Match, other: &Match| {
        let by_score = other.score.total_cmp(&one.score).then_with(|| other.created_at.cmp(&one.created_at));
        by_score.then_with(|| one.item.cmp(&other.item))
    };
    if matches.len() > limit {
        matches.select_nth_unstable_by(limit, order);
        matches.truncate(limit);
    }
    matches.sort_unstable_by(order);
    matches
}

/// The inverse document frequency of each word.
fn rarity(found: &[Row], words: &[String], size: &Size) -> Vec<f64> {
    let mut texts = vec![0_i64; words.len()];
    for (n, _) in found.iter().flat_map(|row| &row.occurrences.counts) {
        texts[*n] += 1;
    }
    for (word, with_it) in size.common.iter().zip(&size.common_texts) {
        if let Some(n) = words.iter().position(|asked| asked == word) {
            texts[n] = *with_it;
        }
    }
    let all = as_f64(size.texts);
    let of_word = |with_it: i64| {
        let with_it = as_f64(with_it);
        (1.0 + (all.max(with_it) - with_it + 0.5) / (with_it + 0.5)).ln()
    };
    texts.into_iter().map(of_word).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no collection has 2^53 words")]
fn as_f64(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    use super::*;
    use crate::{model::MemoryId, search::model::Item};

    /// The binary form of a `tsvector`, as PostgreSQL sends it.
    fn vector(words: &[(&str, u16)]) -> Vec<u8> {
        let mut bytes = u32::try_from(words.len()).unwrap().to_be_bytes().to_vec();
        for (word, positions) in words {
            bytes.extend(word.as_bytes());
            bytes.push(0);
            bytes.extend(positions.to_be_bytes());
            bytes.extend((1..=*positions).flat_map(u16::to_be_bytes));
        }
        bytes
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Term frequencies, and the length of the text.
    fn text(counts: &[(usize, u16)], length: u32) -> Occurrences {
        Occurrences { counts: counts.to_vec(), length }
    }

    /// The indexes of the best texts, with their scores. A later text is a newer one.
    fn best_of(texts: &[Occurrences], asked: &[&str], size: &Size) -> Vec<(u128, f64)> {
        let row = |(n, occurrences): (u128, &Occurrences)| Row {
            item: Item::Memory(MemoryId(Uuid::from_u128(n))),
            created_at: DateTime::UNIX_EPOCH + TimeDelta::days(i64::try_from(n).unwrap()),
            occurrences: occurrences.clone(),
        };
        let settings = SearchSettings { k1: 1.2, b: 0.75, ..SearchSettings::default() };
        let matches = best((0..).zip(texts).map(row).collect(), &words(asked), size, &settings, 10);
        let number = |item: &Item| match item {
            Item::Memory(id) => id.0.as_u128(),
            Item::Message(_) => unreachable!("only memories were made"),
        };
        matches.iter().map(|found| (number(&found.item), found.score)).collect()
    }

    #[test]
    fn a_vector_is_read_as_it_is_sent() {
        let asked = words(&["tea", "größe"]);
        let question = Question::new(&asked);
        let sent = vector(&[("größe", 3), ("te", 1), ("tea", 0), ("teas", 2)]);
        assert_eq!(question.occurrences(&sent), Some(text(&[(1, 3), (0, 1)], 4)));
        assert_eq!(question.occurrences(&vector(&[])), Some(text(&[], 0)));
        for cut in 0..sent.len() {
            assert_eq!(question.occurrences(&sent[..cut]), None, "cut after {cut} bytes");
        }
    }

    #[test]
    fn the_score_is_that_of_bm25() {
        let size = Size { texts: 4, words: 40, ..Size::default() };
        let found = best_of(&[text(&[(0, 2)], 20), text(&[(0, 1), (1, 1)], 10)], &["tea", "cup"], &size);
        let (tea, cup) = (1.0 + 2.5 / 2.5_f64, 1.0 + 3.5 / 1.5_f64);
        let expected = [(1, tea.ln() + cup.ln()), (0, tea.ln() * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 2.0)))];
        for ((number, score), (expected_number, expected_score)) in found.iter().zip(expected) {
            assert_eq!(*number, expected_number);
            assert!((score - expected_score).abs() < 1e-12, "{score} {expected_score}");
        }
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn how_many_have_a_common_word_is_known_without_finding_them() {
        let size = Size { texts: 1_000, words: 10_000, ..Size::default() };
        let texts = [text(&[(0, 1)], 10), text(&[(1, 1)], 10)];
        assert_eq!(best_of(&texts, &["tea", "the"], &size)[0].0, 1, "the newer of two that are alike");
        let size = Size { common: words(&["the"]), common_texts: vec![900], ..size };
        assert_eq!(best_of(&texts, &["tea", "the"], &size)[0].0, 0);
    }

    #[test]
    fn no_more_than_asked_for_are_told_and_the_best_are() {
        let texts: Vec<Occurrences> = (1..=50).map(|count| text(&[(0, count)], 10)).collect();
        let size = Size { texts: 100, words: 1_000, ..Size::default() };
        let numbers: Vec<u128> = best_of(&texts, &["tea"], &size).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (40..50).rev().collect::<Vec<u128>>());
    }
}
