//! Cached sizes of large collections, with their common words.
//!
//! BM25 needs the number of texts and their length. A small collection is counted for each search. Counting a large one
//! costs more than the search itself and changes little in a minute, so it is cached for a minute. Common words, too,
//! are a problem of large collections: every search would read all texts that have them. There they are left out of a
//! search as long as its rarer words find enough.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Texts from which on a collection is large.
pub(super) const LARGE: i64 = 2_000;
const FRESH_FOR: Duration = Duration::from_mins(1);
/// Maximum number of cached collections; a full cache is cleared.
const MOST: usize = 2_000;

/// The number of texts and of words, and the common words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub texts: i64,
    pub words: i64,
    /// Common words; empty for a small collection.
    pub common: Vec<String>,
    /// How many texts have each of the common words.
    pub common_texts: Vec<i64>,
}

/// Cache key: the tenant, the user, the session, whether messages and whether memories are included.
pub(super) type Collection = (String, Option<String>, Option<String>, bool, bool);

/// The cache of this process.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<HashMap<Collection, (Instant, Arc<Size>)>>);

impl Statistics {
    pub(super) fn get(&self, collection: &Collection) -> Option<Arc<Size>> {
        self.lock().get(collection).filter(|(at, _)| at.elapsed() < FRESH_FOR).map(|(_, size)| size.clone())
    }

    /// Caches the size, if the collection is large.
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

    /// Ignores poisoning: a panic under the lock cannot leave the map half written.
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
        let of = |user: &str| ("default".to_owned(), Some(user.to_owned()), None, true, true);
        let size = |texts| Arc::new(Size { texts, ..Size::default() });
        statistics.remember(of("small"), &size(LARGE - 1));
        statistics.remember(of("large"), &size(LARGE));
        assert_eq!(statistics.get(&of("small")), None);
        assert_eq!(statistics.get(&of("large")), Some(size(LARGE)));
    }
}
