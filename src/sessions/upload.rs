//! Receives an export. It is spooled to disk until it is complete, so that neither its size nor a slow sender takes up
//! memory or a database connection.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Seek},
};

use futures::{Stream, StreamExt};
use tempfile::SpooledTempFile;

use crate::model::Error;

/// Uploads of at most this many bytes stay in memory.
const IN_MEMORY: usize = 1024 * 1024;
/// More than the longest line of an export.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

pub struct Upload(BufReader<SpooledTempFile>);

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}

impl Upload {
    /// Receives all chunks, until the end or the first error.
    pub async fn receive<C, E>(chunks: impl Stream<Item = Result<C, E>>) -> Result<Self, E>
    where
        C: AsRef<[u8]>,
        E: From<Error>,
    {
        let mut file = SpooledTempFile::new(IN_MEMORY);
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            io::Write::write_all(&mut file, chunk?.as_ref()).map_err(|error| no_room(&error))?;
        }
        Ok(Self(BufReader::new(file)))
    }

    /// Goes back to the first line.
    pub fn rewind(&mut self) -> Result<(), Error> {
        self.0.rewind().map_err(|error| no_room(&error))
    }

    /// Reads the next line into `line`, with its line feed. `false` at the end.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let mut limited = (&mut self.0).take(MAX_LINE_BYTES + 1);
        limited.read_until(b'\n', line).map_err(|error| no_room(&error))?;
        if line.len() as u64 > MAX_LINE_BYTES {
            let detail =
                format!("holds a line of more than {MAX_LINE_BYTES} bytes; send what the export answered with");
            return Err(Error::invalid("body", detail));
        }
        Ok(!line.is_empty())
    }
}

fn no_room(error: &io::Error) -> Error {
    tracing::error!(%error, "The body of an import could not be kept in the temporary directory.");
    Error::unavailable("The body could not be kept in the server's temporary directory; make room there (TMPDIR)")
}
