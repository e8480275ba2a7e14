//! A cache of the sessions' vectors in this process: the next search of the same user need not read them again.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use moka::sync::Cache;

use super::store::Vectors;

/// Maximum size of the cache in bytes: vectors of some 150,000 messages.
const MOST_BYTES: u64 = 64 << 20;
/// Deleted messages are not found any more at once; their vectors leave the memory after this time at the latest.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// The tenant, the session, and the model of its vectors.
type Key = (String, String, String);

/// The version of a session when its vectors were read. Every new or deleted message changes `number`; a session that
/// is recreated under the same id differs in `created_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) created_at: DateTime<Utc>,
    pub(super) number: i64,
}

/// The cache of this process.
#[derive(Clone, Debug)]
pub struct KeptVectors(Cache<Key, (Version, Arc<Vectors>)>);

impl Default for KeptVectors {
    fn default() -> Self {
        let weight = |key: &Key, (_, vectors): &(Version, Arc<Vectors>)| {
            u32::try_from(key.0.len() + key.1.len() + key.2.len() + vectors.size()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(MOST_BYTES).weigher(weight).time_to_live(KEPT_FOR).build())
    }
}

impl KeptVectors {
    pub(super) fn get(&self, tenant: &str, session_id: &str, model: &str, version: &Version) -> Option<Arc<Vectors>> {
        let (read_at, vectors) = self.0.get(&key(tenant, session_id, model))?;
        (read_at == *version).then_some(vectors)
    }

    pub(super) fn keep(&self, tenant: &str, session_id: &str, model: &str, version: Version, vectors: &Arc<Vectors>) {
        self.0.insert(key(tenant, session_id, model), (version, vectors.clone()));
    }
}

fn key(tenant: &str, session_id: &str, model: &str) -> Key {
    (tenant.to_owned(), session_id.to_owned(), model.to_owned())
}
