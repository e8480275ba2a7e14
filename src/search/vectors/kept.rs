//! The vectors of sessions that this process has read, so that the next search of the same user need not read them again.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use moka::sync::Cache;

use super::store::Vectors;

/// How many bytes of vectors are kept: those of some 150,000 messages.
const MOST_BYTES: u64 = 64 << 20;
/// What was deleted is found no more at once, and is not kept for longer than this.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// A session and the model that its vectors are of.
type Key = (String, String);

/// What a session was when its vectors were read. Whatever is said in it or deleted changes the number; a session that is
/// made anew under the same id has another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) created_at: DateTime<Utc>,
    pub(super) number: i64,
}

/// The vectors that are kept by this process.
#[derive(Clone, Debug)]
pub struct KeptVectors(Cache<Key, (Version, Arc<Vectors>)>);

impl Default for KeptVectors {
    fn default() -> Self {
        let weight = |key: &Key, (_, vectors): &(Version, Arc<Vectors>)| {
            u32::try_from(key.0.len() + key.1.len() + vectors.size()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(MOST_BYTES).weigher(weight).time_to_live(KEPT_FOR).build())
    }
}

impl KeptVectors {
    pub(super) fn get(&self, session_id: &str, model: &str, version: &Version) -> Option<Arc<Vectors>> {
        let (read_at, vectors) = self.0.get(&(session_id.to_owned(), model.to_owned()))?;
        (read_at == *version).then_some(vectors)
    }

    pub(super) fn keep(&self, session_id: &str, model: &str, version: Version, vectors: &Arc<Vectors>) {
        self.0.insert((session_id.to_owned(), model.to_owned()), (version, vectors.clone()));
    }
}
