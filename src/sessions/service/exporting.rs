//! Exports a conversation as JSON lines: the session, its token usage, each run followed by its messages and the
//! summary version that ends with it, and an `end` line.

use std::{collections::VecDeque, sync::Arc};

use futures::{Stream, stream};
use serde_json::json;

use super::find;
use crate::{
    app::App,
    model::{Error, Scope, SessionId, SessionType},
    sessions::store::{self, ExportedLine},
};

/// Bytes read at a time. A slow reader holds no more of the conversation in memory than this, or one longer line, and
/// no database connection.
const BATCH_BYTES: i64 = 256 * 1024;

/// The lines of an export, each with its line feed. Runs that have not ended are left out. After an error the stream
/// stops, without the `end` line.
pub async fn export(
    app: &Arc<App>,
    scope: Scope,
    session_id: SessionId,
    session_type: Option<SessionType>,
) -> Result<impl Stream<Item = Result<String, Error>> + use<>, Error> {
    find(app, &scope, &session_id, session_type).await?;
    let head = store::export_head(&app.db, &scope, &session_id).await?;
    let reading = Reading {
        app: app.clone(),
        scope,
        session_id,
        lines: head.into(),
        after: (0, ExportedLine::SUMMARY),
        runs: 0,
        messages: 0,
        is_at_end: false,
    };
    Ok(stream::try_unfold(reading, |mut reading| async move {
        let line = reading.next().await?;
        Ok(line.map(|line| (line + "\n", reading)))
    }))
}

struct Reading {
    app: Arc<App>,
    scope: Scope,
    session_id: SessionId,
    lines: VecDeque<String>,
    /// Position of the last line that was read.
    after: (i64, i32),
    runs: usize,
    messages: usize,
    is_at_end: bool,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<String>, Error> {
        if self.lines.is_empty() && !self.is_at_end {
            self.read().await?;
        }
        Ok(self.lines.pop_front())
    }

    async fn read(&mut self) -> Result<(), Error> {
        let lines = store::export_lines(&self.app.db, &self.scope, &self.session_id, self.after, BATCH_BYTES).await?;
        let is_end = lines.is_empty();
        for ExportedLine { seq, place, line } in lines {
            self.after = (seq, place);
            match place {
                ExportedLine::RUN => self.runs += 1,
                ExportedLine::SUMMARY => {}
                _ => self.messages += 1,
            }
            self.lines.push_back(line);
        }
        if is_end {
            self.is_at_end = true;
            self.lines.push_back(json!({"kind": "end", "runs": self.runs, "messages": self.messages}).to_string());
        }
        Ok(())
    }
}
