//! Byte pair encoding: merges neighbours to the token with the lowest rank, the first one of several, until no two are a
//! token together.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::vocabulary::Vocabulary;

/// In place of the end of a part that has been merged into the one before it.
const GONE: usize = 0;

/// The number of tokens to which a piece is merged. It takes `n log n` time for any `n` bytes.
pub(super) fn count(vocabulary: &Vocabulary, piece: &[u8]) -> usize {
    if vocabulary.find(piece).is_some() {
        return 1;
    }
    let mut parts = Parts::of(piece.len());
    // Two neighbours that are a token together: its place, which is in the order of the ranks, and its bounds.
    let mut pairs = BinaryHeap::new();
    let pair = |begin: usize, end: usize| Some(Reverse((vocabulary.find(&piece[begin..end])?, begin, end)));
    pairs.extend((2..=piece.len()).filter_map(|end| pair(end - 2, end)));
    while let Some(Reverse((_, begin, end))) = pairs.pop() {
        if parts.merge(begin, end) {
            pairs.extend(parts.before(begin).and_then(|before| pair(before, end)));
            pairs.extend(parts.after(end).and_then(|after| pair(begin, after)));
        }
    }
    parts.count
}

/// The parts of a piece, a byte each at first.
struct Parts {
    count: usize,
    /// The end of the part that begins at an index.
    ends: Vec<usize>,
    /// The beginning of the part that ends at an index.
    begins: Vec<usize>,
}

impl Parts {
    fn of(length: usize) -> Self {
        Self {
            count: length,
            ends: (1..=length).collect(),
            begins: (0..=length).map(|end| end.saturating_sub(1)).collect(),
        }
    }

    /// Merges the two parts from `begin` to `end`. `false` if there are no such parts any more.
    fn merge(&mut self, begin: usize, end: usize) -> bool {
        let middle = self.ends[begin];
        if middle == GONE || middle >= end || self.ends[middle] != end {
            return false;
        }
        (self.ends[begin], self.ends[middle], self.begins[end]) = (end, GONE, begin);
        self.count -= 1;
        true
    }

    /// The beginning of the part before the one that begins here.
    fn before(&self, begin: usize) -> Option<usize> {
        (begin > 0).then(|| self.begins[begin])
    }

    /// The end of the part after the one that ends here.
    fn after(&self, end: usize) -> Option<usize> {
        self.ends.get(end).copied()
    }
}
