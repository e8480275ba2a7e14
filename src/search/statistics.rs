//! The size of large collections, and their common words.
//!
//! BM25 needs to know how many texts there are and how long they are. For a small collection each search counts. To
//! count a large one costs more than the search itself, and a minute changes it little: that is done once a minute. In
//! a large collection, moreover, words that many texts have would make every search look at all of these; they find
//! nothing by themselves there as long as rarer words of the question find enough.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// From how many texts on a collection is large.
pub(super) const LARGE: i64 = 2_000;
const FRESH_FOR: Duration = Duration::from_mins(1);
/// How many collections are remembered; beyond it all are forgotten.
const MOST: usize = 2_000;

/// How many texts there are and how many words in all, and what words are common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub texts: i64,
    pub words: i64,
    /// Common words, only of a large collection.
    pub common: Vec<String>,
    /// How many texts have each of these.
    pub common_texts: Vec<i64>,
}

/// What is being counted: whose, in which session, messages and memories or not.
pub(super) type Collection = (Option<String>, Option<String>, bool, bool);

/// The sizes that are remembered by this process.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<HashMap<Collection, (Instant, Arc<Size>)>>);

impl Statistics {
    pub(super) fn get(&self, collection: &Collection) -> Option<Arc<Size>> {
        self.lock().get(collection).filter(|(at, _)| at.elapsed() < FRESH_FOR).map(|(_, size)| size.clone())
    }

    /// Remembers the size of a large collection.
    pub(super) fn remember(&self, collection: Collection, size: &Arc<Size>) {
        if size.texts < LARGE {
            return;
        }
        let mut sizes = self.lock();
        if sizes.len() >= MOST {
            sizes.clear();
        }
        sizes.insert(collection, (Instant::now(), size.clone()));
    }

    /// A panic while the lock was held cannot have left the map half written.
    fn lock(&self) -> MutexGuard<'_, HashMap<Collection, (Instant, Arc<Size>)>> {
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
        let size = |texts| Arc::new(Size { texts, ..Size::default() });
        statistics.remember(of("small"), &size(LARGE - 1));
        statistics.remember(of("large"), &size(LARGE));
        assert_eq!(statistics.get(&of("small")), None);
        assert_eq!(statistics.get(&of("large")), Some(size(LARGE)));
    }
}
