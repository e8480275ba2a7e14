//! The body of `POST /agents/{id}/runs`: JSON, or the forms that the existing clients send.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::UserId,
    config::MAX_HISTORY_RUNS,
    http::{Body, Problem, extract},
    sessions::SessionId,
};

/// What a client asks of an agent.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"message": "Hi, my name is Alice", "session_id": "s-1", "user_id": "alice@example.com"}))]
pub struct CreateRun {
    /// The user's message; not empty.
    #[schema(min_length = 1)]
    pub message: String,
    /// The conversation to continue. Absent: a new one, whose id is in the answer. An id that is not in use yet begins
    /// a new conversation.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// Whom the conversation belongs to.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// `true`: Server-Sent Events; `false`: one JSON answer. Absent: `false` in JSON, `true` in forms.
    #[serde(default)]
    pub stream: Option<bool>,
    /// An RFC 7396 merge patch on the session's state; it takes effect when the run completes.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub session_state: Option<Map<String, Value>>,
    /// Kept with the run.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub add_history_to_context: Option<bool>,
    /// Instead of the agent's own setting; at most 1,000.
    #[serde(default)]
    #[schema(maximum = 1000)]
    pub num_history_runs: Option<u32>,
    /// Instead of the agent's own setting.
    #[serde(default)]
    pub add_session_state_to_context: Option<bool>,
    /// Instead of the agent's own setting: whether the session's summary goes into the prompt. Also `include_summary`.
    #[serde(default, alias = "include_summary")]
    pub add_session_summary_to_context: Option<bool>,
    /// Instead of the agent's own setting: whether the session is summarized when it has grown.
    #[serde(default)]
    pub enable_session_summaries: Option<bool>,
    /// Whether to answer only when the background work that this run made necessary is done: the summary. In a stream
    /// its events come before `RunCompleted`.
    #[serde(default)]
    pub wait_for_background: Option<bool>,
}

impl CreateRun {
    /// With nothing but a message.
    pub fn saying(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            session_id: None,
            user_id: None,
            stream: None,
            session_state: None,
            metadata: None,
            add_history_to_context: None,
            num_history_runs: None,
            add_session_state_to_context: None,
            add_session_summary_to_context: None,
            enable_session_summaries: None,
            wait_for_background: None,
        }
    }
}

const FIELDS: [&str; 13] = [
    "message",
    "session_id",
    "user_id",
    "stream",
    "session_state",
    "metadata",
    "add_history_to_context",
    "num_history_runs",
    "add_session_state_to_context",
    "add_session_summary_to_context",
    "include_summary",
    "enable_session_summaries",
    "wait_for_background",
];
/// Fields whose value is text even where it looks like JSON.
const TEXT_FIELDS: [&str; 3] = ["message", "session_id", "user_id"];
/// Leaving these out would change what is asked for, so they are refused rather than passed over.
const UNSUPPORTED: [&str; 10] = [
    "files",
    "images",
    "audio",
    "videos",
    "input_files",
    "background",
    "output_schema",
    "dependencies",
    "knowledge_filters",
    "run_id",
];

/// A run request and how it was sent, which decides how failures are answered.
#[derive(Debug)]
pub struct RunRequest {
    pub run: CreateRun,
    pub stream: bool,
    /// Sent as a form, by a client that expects AgentOS's answers: a failed run is a 200 with `status: "ERROR"`.
    pub is_form: bool,
}

impl FromRequest<Arc<App>> for RunRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let limit = app.settings.server.request_timeout;
        tokio::time::timeout(limit, Self::read(request, app)).await.unwrap_or_else(|_| {
            let detail = format!("The body did not arrive within {} s; send it again", limit.as_secs_f64());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        })
    }
}

impl RunRequest {
    async fn read(request: Request, state: &Arc<App>) -> Result<Self, Problem> {
        let media_type = extract::media_type(&request);
        let (run, is_form) = match media_type.as_deref() {
            Some("application/x-www-form-urlencoded") => (from_fields(urlencoded(request, state).await?)?, true),
            Some("multipart/form-data") => (from_fields(multipart(request, state).await?)?, true),
            _ if extract::is_json(&request) => {
                let Body(run) = <Body<CreateRun> as FromRequest<_>>::from_request(request, state).await?;
                (run, false)
            }
            _ => {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "Send the run as application/json, application/x-www-form-urlencoded or multipart/form-data",
                ));
            }
        };
        check(&run)?;
        let stream = run.stream.unwrap_or(is_form);
        Ok(Self { run, stream, is_form })
    }
}

fn check(run: &CreateRun) -> Result<(), Problem> {
    if run.message.is_empty() {
        return Err(Problem::invalid("/message", "is empty; give the user's message"));
    }
    if let Some(count) = run.num_history_runs.filter(|count| *count > MAX_HISTORY_RUNS) {
        return Err(Problem::invalid("/num_history_runs", format!("is {count}; use at most {MAX_HISTORY_RUNS}")));
    }
    Ok(())
}

async fn urlencoded(request: Request, state: &Arc<App>) -> Result<Vec<(String, String)>, Problem> {
    let bytes = Bytes::from_request(request, state).await.map_err(|error| extract::too_large(&error))?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body looks like JSON and is declared as a form; send it with Content-Type: application/json",
        ));
    }
    if !is_utf8_once_decoded(&bytes) {
        return Err(not_utf8());
    }
    serde_urlencoded::from_bytes(&bytes)
        .map_err(|error| Problem::unreadable(format!("The form cannot be read: {error}; send UTF-8 text")))
}

async fn multipart(request: Request, state: &Arc<App>) -> Result<Vec<(String, String)>, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Problem::unreadable(format!("The multipart form cannot be read: {error}; send it as multipart/form-data"))
    };
    let mut form = Multipart::from_request(request, state).await.map_err(|error| unreadable(&error.body_text()))?;
    let mut fields = Vec::new();
    loop {
        let field = match form.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => return Ok(fields),
            Err(error) => return Err(multipart_problem(&error)),
        };
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_some_and(|file| !file.is_empty()) {
            return Err(unsupported(&name));
        }
        fields.push((name, text_of(field).await?));
    }
}

async fn text_of(field: axum::extract::multipart::Field<'_>) -> Result<String, Problem> {
    let bytes = field.bytes().await.map_err(|error| multipart_problem(&error))?;
    String::from_utf8(bytes.into()).map_err(|_| not_utf8())
}

fn not_utf8() -> Problem {
    Problem::unreadable("The form is not UTF-8; send UTF-8 text")
}

/// The decoder would replace what is no UTF-8, and the message would not be what was said.
fn is_utf8_once_decoded(form: &[u8]) -> bool {
    percent_encoding::percent_decode(form).decode_utf8().is_ok()
}

fn multipart_problem(error: &axum::extract::multipart::MultipartError) -> Problem {
    let detail = format!("The multipart form cannot be read: {}", error.body_text());
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
        _ => Problem::unreadable(detail),
    }
}

fn unsupported(name: &str) -> Problem {
    Problem::invalid(format!("/{name}"), "is not supported by this server; leave it out")
}

/// A form's texts become the values that JSON would have: `true`, `3`, `{…}`; empty and `null` mean absent. Fields that
/// AgentOS forwards to the agent's code have no meaning here and are passed over, as there.
fn from_fields(fields: Vec<(String, String)>) -> Result<CreateRun, Problem> {
    let mut object = Map::new();
    for (name, text) in fields {
        let is_absent = text.is_empty() || matches!(text.to_ascii_lowercase().as_str(), "null" | "none");
        if TEXT_FIELDS.contains(&name.as_str()) {
            if name == "message" || !is_absent {
                object.insert(name, Value::String(text));
            }
        } else if FIELDS.contains(&name.as_str()) {
            if !is_absent {
                object.insert(name, typed(&text));
            }
        } else if UNSUPPORTED.contains(&name.as_str()) && !is_absent && !is_empty_value(&text) {
            return Err(unsupported(&name));
        } else {
            tracing::debug!(field = name, "A form field has no meaning here and is passed over.");
        }
    }
    extract::parse_json(Value::Object(object).to_string().as_bytes())
}

fn is_empty_value(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "false" | "[]" | "{}")
}

fn typed(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Result<CreateRun, Problem> {
        from_fields(fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_form_means_what_the_json_would() {
        let run = form(&[
            ("message", "true"),
            ("session_id", ""),
            ("user_id", "None"),
            ("stream", "False"),
            ("session_state", r#"{"a": 1}"#),
            ("num_history_runs", "5"),
            ("version", "3"),
            ("background", "false"),
        ])
        .unwrap();
        assert_eq!(run.message, "true");
        assert!(run.session_id.is_none() && run.user_id.is_none());
        assert_eq!(run.stream, Some(false));
        assert_eq!(run.session_state.unwrap()["a"], 1);
        assert_eq!(run.num_history_runs, Some(5));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_rather_than_dropped() {
        for (name, value) in [("images", "[{}]"), ("background", "true"), ("run_id", "x"), ("session_state", "[1]")] {
            let problem = form(&[("message", "hi"), (name, value)]).unwrap_err();
            assert!(problem.detail().contains(name), "{}", problem.detail());
        }
    }
}
