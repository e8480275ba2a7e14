//! Request bodies as JSON or as forms, which existing clients send.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, StatusCode},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Problem, extract};
use crate::{app::App, model::json};

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";
/// The media types of forms.
pub const FORMS: [&str; 2] = [URLENCODED, MULTIPART];

/// The fields that a form may have. JSON is strict: it may have only the fields of the type.
pub trait Fields: DeserializeOwned {
    const FIELDS: &'static [&'static str];
    /// Fields whose value is a string even if it looks like JSON.
    const TEXT: &'static [&'static str];
    /// The one text field that is kept even if it is empty or says `null`.
    const VERBATIM: Option<&'static str> = None;
    /// Ignoring these fields would change the meaning of the request, so they are refused unless they are empty.
    const UNSUPPORTED: &'static [&'static str] = &[];
}

/// A body and its format, which decides how failures are reported.
#[derive(Debug)]
pub struct FormOrJson<T> {
    pub value: T,
    /// Whether it is a form. Clients that send forms expect AgentOS's answers.
    pub is_form: bool,
    /// Identifies the content of the body, to compare requests under an `Idempotency-Key`.
    pub fingerprint: Vec<u8>,
}

impl<T: Fields> FromRequest<Arc<App>> for FormOrJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let media_type = extract::media_type(request.headers());
        let of_form = |fields: Vec<(String, String)>| {
            let fingerprint = format!("{fields:?}").into_bytes();
            Ok(Self { value: from_fields(fields)?, is_form: true, fingerprint })
        };
        match media_type.as_deref() {
            Some(URLENCODED) => of_form(urlencoded(request, app).await?),
            Some(MULTIPART) => of_form(multipart(request, app).await?),
            _ if extract::is_json(&request) => {
                let bytes = Bytes::from_request(request, app).await.map_err(|error| extract::too_large(&error))?;
                Ok(Self { value: json::parse(&bytes)?, is_form: false, fingerprint: bytes.into() })
            }
            None if extract::has_no_body(request.headers()) => {
                Ok(Self { value: from_fields(Vec::new())?, is_form: false, fingerprint: Vec::new() })
            }
            _ => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Send the body as application/json, application/x-www-form-urlencoded or multipart/form-data",
            )),
        }
    }
}

/// Whether the body is declared as a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    extract::media_type(headers).is_some_and(|media| FORMS.contains(&media.as_str()))
}

async fn urlencoded(request: Request, app: &Arc<App>) -> Result<Vec<(String, String)>, Problem> {
    let bytes = Bytes::from_request(request, app).await.map_err(|error| extract::too_large(&error))?;
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

async fn multipart(request: Request, app: &Arc<App>) -> Result<Vec<(String, String)>, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Problem::unreadable(format!("The multipart form cannot be read: {error}; send it as multipart/form-data"))
    };
    let mut form = Multipart::from_request(request, app).await.map_err(|error| unreadable(&error.body_text()))?;
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

/// The decoder would replace invalid UTF-8 and so change the message.
fn is_utf8_once_decoded(form: &[u8]) -> bool {
    percent_encoding::percent_decode(form).decode_utf8().is_ok()
}

fn multipart_problem(error: &axum::extract::multipart::MultipartError) -> Problem {
    let detail = format!("The multipart form cannot be read: {}", error.body_text());
    match error.status() {
        _ if extract::is_timeout(error) => extract::body_timed_out(),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
        _ => Problem::unreadable(detail),
    }
}

fn unsupported(name: &str) -> Problem {
    Problem::invalid(format!("/{name}"), "is not supported by this server; leave it out")
}

/// Converts form values to JSON values: `true`, `3`, `{…}`. Empty, `null` and `none` mean absent. Unknown fields are
/// ignored: AgentOS accepts them too and forwards them to the agent's code, which does not exist here.
pub fn from_fields<T: Fields>(fields: Vec<(String, String)>) -> Result<T, Problem> {
    let mut object = Map::new();
    for (name, text) in fields {
        let is_absent = text.is_empty() || matches!(text.to_ascii_lowercase().as_str(), "null" | "none");
        if T::TEXT.contains(&name.as_str()) {
            if T::VERBATIM == Some(&name) || !is_absent {
                object.insert(name, Value::String(text));
            }
        } else if T::FIELDS.contains(&name.as_str()) {
            if !is_absent {
                object.insert(name, typed(&text));
            }
        } else if T::UNSUPPORTED.contains(&name.as_str()) && !is_absent && !is_empty_value(&text) {
            return Err(unsupported(&name));
        } else {
            tracing::debug!(field = name, "A form field has no meaning here and is passed over.");
        }
    }
    Ok(json::parse(Value::Object(object).to_string().as_bytes())?)
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
