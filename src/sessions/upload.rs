//! An export that is being sent in: kept on the disk until all of it is here, so that neither its size nor a slow sender
//! costs memory or a connection to the database.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Seek},
    time::Duration,
};

use axum::{body::Body, http::StatusCode};
use futures::StreamExt;
use tempfile::SpooledTempFile;

use crate::http::{Problem, extract};

/// Smaller ones stay in memory.
const IN_MEMORY: usize = 1024 * 1024;
/// More than any line that an export has.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

pub struct Upload(BufReader<SpooledTempFile>);

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}

impl Upload {
    /// Takes in all of a body, unless it is larger than `max_bytes` or nothing comes for as long as `patience`.
    pub async fn receive(body: Body, max_bytes: Option<u64>, patience: Duration) -> Result<Self, Problem> {
        let mut file = SpooledTempFile::new(IN_MEMORY);
        let mut chunks = body.into_data_stream();
        let mut bytes = 0;
        loop {
            let chunk = tokio::time::timeout(patience, chunks.next()).await.map_err(|_| extract::body_timed_out())?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|error| extract::body_error(&error))?;
            bytes += chunk.len() as u64;
            if max_bytes.is_some_and(|max| bytes > max) {
                let detail = "The export is larger than this server takes; raise sessions.max_import_bytes";
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            io::Write::write_all(&mut file, &chunk).map_err(|error| no_room(&error))?;
        }
        Ok(Self(BufReader::new(file)))
    }

    /// Goes back to the first line.
    pub fn rewind(&mut self) -> Result<(), Problem> {
        self.0.rewind().map_err(|error| no_room(&error))
    }

    /// Reads the next line into `line`, without its end. `false`: there is none.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Problem> {
        line.clear();
        let mut limited = (&mut self.0).take(MAX_LINE_BYTES + 1);
        limited.read_until(b'\n', line).map_err(|error| no_room(&error))?;
        if line.len() as u64 > MAX_LINE_BYTES {
            let detail =
                format!("holds a line of more than {MAX_LINE_BYTES} bytes; send what the export answered with");
            return Err(Problem::invalid("body", detail));
        }
        Ok(!line.is_empty())
    }
}

fn no_room(error: &io::Error) -> Problem {
    tracing::error!(%error, "The body of an import could not be kept in the temporary directory.");
    Problem::unavailable("The body could not be kept in the server's temporary directory; make room there (TMPDIR)")
}
