//! Settings of the database.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The URL of a PostgreSQL database. Default: `DATABASE_URL`; without either, a private server is started in
    /// `data_dir`.
    pub url: Option<String>,
    /// PostgreSQL's own URL, if `url` is a pooler's: for migrations, LISTEN and the job queue. Default: `url`.
    pub direct_url: Option<String>,
    /// The schema of this installation, created if it does not exist. Default: the first schema of the search path.
    pub schema: Option<String>,
    /// Where the embedded PostgreSQL keeps its files.
    pub data_dir: PathBuf,
    pub max_connections: u32,
    /// How long to retry at start while the database is not available yet.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a request waits for a free connection before it is answered with 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            direct_url: None,
            schema: None,
            data_dir: PathBuf::from("colloquy-data"),
            max_connections: 16,
            connect_timeout: Duration::from_secs(30),
            acquire_timeout: Duration::from_secs(5),
        }
    }
}
