//! Limits of sessions, and how long they are kept.

use std::time::Duration;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// Maximum size of a session's state, and of its metadata, in bytes of JSON.
    pub max_state_bytes: usize,
    /// Maximum size of a session import, in bytes of its export. Default: unlimited.
    pub max_import_bytes: Option<u64>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { max_state_bytes: 256 * 1024, max_import_bytes: None }
    }
}

/// Automatic removal of old sessions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// How long after its last activity an unpinned session is removed. Default: never.
    #[serde(with = "humantime_serde")]
    pub sessions_after: Option<Duration>,
}
