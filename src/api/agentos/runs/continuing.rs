//! `POST /agents/{agent_id}/runs/{run_id}/continue`.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    routes::begin,
    wire::{AcceptedRun, RunOutput, ServerEvent},
};
use crate::{
    api::{
        NoQuery, Path, Problem,
        forms::{Fields, FormOrJson},
        idempotency::{self, IdempotencyKey},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, Unavailable},
    },
    app::App,
    engine::{
        continuation::{self, Origin, Wanted},
        start::Start,
    },
    model::{Caller, RunId, SessionId, UserId},
    runs::{reading, spec::Delivery},
};

/// The point from which a run is continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContinueFrom {
    /// After its answer.
    #[default]
    End,
    /// After the user's message: the answer is generated again.
    LastUser,
}

/// How to continue. Give `input`, `regenerate` or both; a run that failed needs neither.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"regenerate": true}))]
pub struct ContinueRun {
    /// The user's next message. With `regenerate`, it replaces the run's original message.
    #[serde(default)]
    input: Option<String>,
    /// Default: `end`.
    #[serde(default)]
    #[schema(inline)]
    continue_from: Option<ContinueFrom>,
    /// Generates the answer to the same message again.
    #[serde(default)]
    regenerate: Option<bool>,
    /// For an answer that is generated again: whether the old run leaves the history. Default: `true`.
    #[serde(default)]
    replace_original: Option<bool>,
    /// Instructions for the model, besides the message.
    #[serde(default)]
    additional_instructions: Option<String>,
    /// Continues in a copy of the session that ends with this run. With it any run can be continued, not only the
    /// newest.
    #[serde(default)]
    fork: Option<bool>,
    /// Optional. If given, the run must belong to this session.
    #[serde(default)]
    session_id: Option<SessionId>,
    #[serde(default)]
    user_id: Option<UserId>,
    /// As for a new run.
    #[serde(default)]
    stream: Option<bool>,
    /// As for a new run.
    #[serde(default)]
    background: Option<bool>,
}

impl Fields for ContinueRun {
    const FIELDS: &'static [&'static str] = &["regenerate", "replace_original", "fork", "stream", "background"];
    const TEXT: &'static [&'static str] =
        &["input", "continue_from", "additional_instructions", "session_id", "user_id"];
    const UNSUPPORTED: &'static [&'static str] = &["tools", "requirements", "step_requirements"];
}

/// Continues the newest run of a session, or with `fork` any run, in a copy of the session.
///
/// A completed run takes `input`, or gives another answer with `regenerate` or with `input` and
/// `continue_from=last_user`. The old run then gets status `REGENERATED` and leaves the history, unless
/// `replace_original` is false. A failed or cancelled run needs neither: it continues after its last finished tool
/// call.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/runs/{run_id}/continue",
    tag = "Runs",
    operation_id = "continue_run",
    params(
        ("agent_id" = String, Path, description = "The agent's id", example = "assistant"),
        ("run_id" = RunId, Path),
        IdempotencyKey,
    ),
    request_body(content(
        (ContinueRun = "application/json"),
        (ContinueRun = "application/x-www-form-urlencoded"),
        (ContinueRun = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "The new run has ended, or its events follow", content(
            (RunOutput = "application/json"),
            (ServerEvent = "text/event-stream"),
        )),
        (status = 202, description = "The new run goes on in the background", body = AcceptedRun),
        (status = 409, description = "The run has not ended, or is not its session's newest", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many runs; try again after `Retry-After`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 502, description = "The model provider failed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "The model did not answer in time", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn continue_run(
    State(app): State<Arc<App>>,
    Path((agent_id, run_id)): Path<(String, RunId)>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    FormOrJson { value: body, is_form, fingerprint }: FormOrJson<ContinueRun>,
) -> Result<Response, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let caller = caller.acting_for(body.user_id.clone(), "/user_id")?;
    let scope = caller.scope();
    let original = reading::find(&app, &scope, &agent_id, run_id, body.session_id.as_ref())
        .await
        .map_err(|error| error.saying(format!("No runs found for run ID {run_id}")))?;
    let path = format!("/agents/{agent_id}/runs/{run_id}/continue");
    let attempt = idempotency::attempt(caller.tenant(), &path, &headers, &fingerprint)?;
    let is_repeated = match &attempt {
        Some(attempt) => crate::idempotency::is_known(&app, attempt).await?,
        None => false,
    };
    let copied = match body.fork {
        Some(true) if !is_repeated => Some(continuation::copy(&app, &scope, &original).await?),
        _ => None,
    };
    let begun = async {
        let original = copied.as_ref().unwrap_or(&original);
        let spec = continuation::plan(&app, &scope, &body.into_wanted(is_form), original, is_repeated).await?;
        let start = Start {
            caller,
            agent,
            forked_from_run_id: spec.continuation.is_none().then_some(run_id),
            regenerated_from: spec.continuation.is_some().then_some(run_id),
            spec,
        };
        begin(&app, start, is_form, attempt).await
    };
    let begun = begun.await;
    if let (Some(copied), Err(_)) = (&copied, &begun) {
        continuation::take_back(&app, &scope, copied).await?;
    }
    begun
}

impl ContinueRun {
    fn into_wanted(self, is_form: bool) -> Wanted {
        let background = self.background.unwrap_or(false);
        Wanted {
            input: self.input,
            origin: match self.continue_from.unwrap_or_default() {
                ContinueFrom::End => Origin::End,
                ContinueFrom::LastUser => Origin::LastUser,
            },
            regenerate: self.regenerate.unwrap_or(false),
            replace_original: self.replace_original.unwrap_or(true),
            additional_instructions: self.additional_instructions,
            delivery: Delivery {
                stream: self.stream.unwrap_or(is_form && !background),
                background,
                ..Delivery::default()
            },
        }
    }
}
