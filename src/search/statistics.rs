//! The size of large collections.
//!
//! BM25 needs to know how many texts there are and how long they are. A small collection is counted by each search, in
//! the same statement. Counting a large one costs more than the search itself, and a minute changes it little: that is
//! counted once a minute.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// From how many texts on the size is remembered.
const LARGE: i64 = 20_000;
const FRESH_FOR: Duration = Duration::from_mins(1);
/// How many collections are remembered; beyond it all are forgotten.
const MOST: usize = 10_000;

/// How many texts there are, and how many words in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub texts: i64,
    pub words: i64,
}

/// What is being counted: whose, in which session, messages and memories or not.
pub(super) type Collection = (Option<String>, Option<String>, bool, bool);

/// The sizes that are remembered by this process.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<HashMap<Collection, (Instant, Size)>>);

impl Statistics {
    pub(super) fn get(&self, collection: &Collection) -> Option<Size> {
        self.lock().get(collection).filter(|(at, _)| at.elapsed() < FRESH_FOR).map(|(_, size)| *size)
    }

    pub(super) fn remember(&self, collection: Collection, size: Size) {
        if size.texts < LARGE {
            return;
        }
        let mut sizes = self.lock();
        if sizes.len() >= MOST {
            sizes.clear();
        }
        sizes.insert(collection, (Instant::now(), size));
    }

    /// A panic while the lock was held cannot have left the map half written.
    fn lock(&self) -> MutexGuard<'_, HashMap<Collection, (Instant, Size)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_collections_are_remembered() {
        let statistics = Statistics::default();
        let of = |user: &str| (Some(user.to_owned()), None, true, true);
        statistics.remember(of("small"), Size { texts: LARGE - 1, words: 1 });
        statistics.remember(of("large"), Size { texts: LARGE, words: 1 });
        assert_eq!(statistics.get(&of("small")), None);
        assert_eq!(statistics.get(&of("large")), Some(Size { texts: LARGE, words: 1 }));
    }
}
