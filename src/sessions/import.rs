//! Validates an export line by line. Errors name the line.

mod run_parts;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::upload::Upload;
use crate::model::{
    ContextRecord, Error, ErrorKind, MessageMetrics, NamedBy, Role, RunError, RunId, RunMetrics, RunStatus, SessionId,
    SessionType, ToolCall, ToolExecution, UserId, json,
};

pub use self::run_parts::RunParts;

const FORMAT: u32 = 1;
/// More tokens than any session has, and few enough to be added up.
const MAX_TOKENS: i64 = 1_000_000_000_000_000;

/// A complete export, each line of which can be stored.
#[derive(Debug)]
pub struct Transcript {
    pub lines: Lines,
    pub session: SessionLine,
    pub runs: usize,
    pub messages: usize,
}

/// The lines of an export, read in order.
#[derive(Debug)]
pub struct Lines {
    upload: Upload,
    line: Vec<u8>,
    number: usize,
}

impl Lines {
    /// Returns the next line that is not blank, with its `kind`, and its length in bytes.
    pub fn read(&mut self) -> Result<Option<(Value, usize)>, Error> {
        while self.upload.read_line(&mut self.line)? {
            self.number += 1;
            let text = self.line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let mut line: Value = json::parse(text).map_err(|problem| at_line(self.number, &problem))?;
            // Exports of older builds have no `about_user`.
            if line["kind"] == "summary" && line["about_user"].is_null() {
                line["about_user"] = "".into();
            }
            return Ok(Some((line, text.len())));
        }
        Ok(None)
    }

    pub fn rewind(&mut self) -> Result<(), Error> {
        self.number = 0;
        self.upload.rewind()
    }
}

#[expect(dead_code, reason = "most fields are read to be checked; what is stored is the line")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionLine {
    format: u32,
    pub session_id: SessionId,
    session_type: SessionType,
    component_id: Option<String>,
    pub user_id: Option<UserId>,
    pub session_name: Option<String>,
    named_by: Option<NamedBy>,
    pub session_state: Map<String, Value>,
    pub metadata: Map<String, Value>,
    last_seq: i64,
    archived_at: Option<DateTime<Utc>>,
    pinned: bool,
    expires_at: Option<DateTime<Utc>>,
    forked_from: Option<SessionId>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Purpose {
    Run,
    Summary,
    Memory,
    Title,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageLine {
    purpose: Purpose,
    model_provider: String,
    model: String,
    input_tokens: i64,
    output_tokens: i64,
    total_tokens: i64,
    reasoning_tokens: i64,
    cache_read_tokens: i64,
    cache_write_tokens: i64,
}

#[expect(dead_code, reason = "most fields are read to be checked; what is stored is the line")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunLine {
    seq: i64,
    run_id: RunId,
    component_id: String,
    user_id: Option<UserId>,
    status: RunStatus,
    input: String,
    content: Option<String>,
    error: Option<RunError>,
    model: Option<String>,
    model_provider: Option<String>,
    metrics: RunMetrics,
    session_state: Option<Map<String, Value>>,
    metadata: Map<String, Value>,
    context: ContextRecord,
    tools: Vec<ToolExecution>,
    tokens: Option<i32>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    forked_from_run_id: Option<RunId>,
    regenerated_from: Option<RunId>,
}

#[expect(dead_code, reason = "most fields are read to be checked; what is stored is the line")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageLine {
    seq: i64,
    index: i32,
    message_id: Uuid,
    role: Role,
    content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
    tool_name: Option<String>,
    tool_args: Option<Value>,
    tool_call_error: Option<bool>,
    metrics: Option<MessageMetrics>,
    provider_data: Option<Value>,
    created_at: DateTime<Utc>,
}

#[expect(dead_code, reason = "most fields are read to be checked; what is stored is the line")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SummaryLine {
    through_seq: i64,
    summary: String,
    about_user: String,
    topics: Vec<String>,
    tokens: i32,
    folded_runs: i32,
    folded_tokens: i64,
    model: String,
    model_provider: String,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    runs: usize,
    messages: usize,
}

/// Reads and validates an export, then rewinds it.
pub fn read(upload: Upload) -> Result<Transcript, Error> {
    let mut reader = Reader::default();
    let mut lines = Lines { upload, line: Vec::new(), number: 0 };
    lines.rewind()?;
    while let Some((line, _)) = lines.read()? {
        reader.take(line).map_err(|reason| at_line(lines.number, &reason))?;
    }
    lines.rewind()?;
    let Reader { session: Some(session), runs, messages, is_complete: true, .. } = reader else {
        return Err(Error::invalid("body", "ends without its last line; send all that the export answered with"));
    };
    Ok(Transcript { lines, session, runs, messages })
}

fn at_line(number: usize, problem: &Error) -> Error {
    if problem.kind() == ErrorKind::Unreadable {
        return Error::unreadable(format!("Line {number}: {}", problem.detail()));
    }
    Error::invalid(format!("line {number}"), problem.detail())
}

#[derive(Default)]
struct Reader {
    session: Option<SessionLine>,
    runs: usize,
    messages: usize,
    usage: HashSet<(Purpose, String, String)>,
    run_ids: HashSet<Uuid>,
    /// The run that the next messages belong to, and whether a summary may end with it: it is completed and has none.
    seq: i64,
    may_be_summarized: bool,
    /// Index of the run's last message.
    index: Option<i32>,
    is_complete: bool,
}

impl Reader {
    fn take(&mut self, mut line: Value) -> Result<(), Error> {
        if self.is_complete {
            return Err(refusal("comes after the end; one export holds one session"));
        }
        let kind = line.as_object_mut().and_then(|fields| fields.shift_remove("kind"));
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        match kind {
            "session" => self.take_session(parsed(&line)?),
            _ if self.session.is_none() => Err(refusal("is not the session, which is the first line")),
            "usage" => self.take_usage(parsed(&line)?),
            "run" => self.take_run(&parsed(&line)?),
            "message" => self.take_message(&parsed(&line)?),
            "summary" => self.take_summary(&parsed(&line)?),
            "end" => self.take_end(&parsed(&line)?),
            _ => Err(refusal("has no kind that is known; it is session, usage, run, message, summary or end")),
        }
    }

    fn take_session(&mut self, session: SessionLine) -> Result<(), Error> {
        if self.session.is_some() {
            return Err(refusal("is a second session; one export holds one"));
        }
        if session.format != FORMAT {
            return Err(refusal("is of a later format; import it with the version that exported it"));
        }
        if session.last_seq < 0 {
            return Err(refusal("has a negative last_seq; give the number of the newest run"));
        }
        if session.named_by.is_some() != session.session_name.is_some() {
            return Err(refusal("has only one of session_name and named_by; give both, or null for both"));
        }
        self.session = Some(session);
        Ok(())
    }

    fn take_usage(&mut self, line: UsageLine) -> Result<(), Error> {
        let numbers = [
            line.input_tokens,
            line.output_tokens,
            line.total_tokens,
            line.reasoning_tokens,
            line.cache_read_tokens,
            line.cache_write_tokens,
        ];
        if !numbers.iter().all(|number| (0..=MAX_TOKENS).contains(number)) {
            return Err(refusal(&format!("has a number of tokens that cannot be; give 0 to {MAX_TOKENS}")));
        }
        if !self.usage.insert((line.purpose, line.model_provider, line.model)) {
            return Err(refusal("has the purpose, provider and model of an earlier line; add the two up"));
        }
        Ok(())
    }

    fn take_run(&mut self, run: &RunLine) -> Result<(), Error> {
        let last_seq = self.session.as_ref().map_or(0, |session| session.last_seq);
        if run.seq <= self.seq || run.seq > last_seq {
            return Err(refusal("is a run out of order; runs are numbered upwards from 1 to the session's last_seq"));
        }
        if !run.status.is_final() {
            return Err(refusal("is a run that has not ended; leave it out with its messages"));
        }
        if run.tokens.is_some_and(|tokens| tokens < 0) {
            return Err(refusal("has negative tokens; give what the run takes in a prompt, or null"));
        }
        if !self.run_ids.insert(run.run_id.0) {
            return Err(refusal("has the run_id of an earlier line; give each run its own"));
        }
        self.runs += 1;
        (self.seq, self.index) = (run.seq, None);
        self.may_be_summarized = run.status == RunStatus::Completed;
        Ok(())
    }

    fn take_message(&mut self, message: &MessageLine) -> Result<(), Error> {
        if self.runs == 0 || message.seq != self.seq {
            return Err(refusal("is a message apart from its run; a run's messages follow it"));
        }
        if message.index < 0 || self.index.is_some_and(|index| message.index <= index) {
            return Err(refusal("is a message out of order; their index grows within a run, from 0"));
        }
        if message.role == Role::System {
            return Err(refusal("is a system message, which no run keeps; leave it out"));
        }
        self.messages += 1;
        self.index = Some(message.index);
        Ok(())
    }

    fn take_summary(&mut self, summary: &SummaryLine) -> Result<(), Error> {
        if summary.through_seq != self.seq || !self.may_be_summarized {
            return Err(refusal(
                "is a summary out of place; it follows the completed run whose number is its through_seq",
            ));
        }
        if !summary.summary.starts_with(&summary.about_user) {
            return Err(refusal("has an about_user that its summary does not begin with"));
        }
        // No message may follow the summary.
        (self.may_be_summarized, self.index) = (false, Some(i32::MAX));
        Ok(())
    }

    fn take_end(&mut self, end: &EndLine) -> Result<(), Error> {
        if (end.runs, end.messages) != (self.runs, self.messages) {
            return Err(refusal(&format!(
                "counts {} runs and {} messages, but {} and {} came; send the whole export",
                end.runs, end.messages, self.runs, self.messages
            )));
        }
        self.is_complete = true;
        Ok(())
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(line: &Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(line).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        refusal(&if path == "." { format!("is refused: {inner}") } else { format!("is refused: {path}: {inner}") })
    })
}

fn refusal(reason: &str) -> Error {
    Error::invalid("", reason)
}
