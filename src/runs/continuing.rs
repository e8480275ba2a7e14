//! Going on from a run that has ended: with more input, with another answer, or from where it failed.
//!
//! The new run takes the place of the old one where it says the same again, so that no turn is twice in the history.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    model::{Message, Role, Run, RunId, RunStatus},
    reading,
    request::{self, CreateRun},
    routes::begin,
    service::Start,
    store::{self, RunFilter},
    wire::{RunOutput, ServerEvent},
};
use crate::{
    app::App,
    auth::{Caller, Scope, UserId},
    clock,
    http::{
        NoQuery, Path, Problem,
        forms::{Fields, FormOrJson},
        idempotency::{self, Attempt, Claimed, IdempotencyKey},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, Unavailable},
    },
    sessions::{self, SessionId, service::Fork},
};

/// From where a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// After its answer.
    #[default]
    End,
    /// After the user's message: the answer is given anew.
    LastUser,
}

/// How to go on. One of `input` and `regenerate`, or neither for a run that failed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"regenerate": true}))]
pub struct ContinueRun {
    /// What the user says next; with `regenerate`, instead of the first message.
    #[serde(default)]
    input: Option<String>,
    /// `end` if left out.
    #[serde(default)]
    #[schema(inline)]
    continue_from: Option<From>,
    /// Answer the same message again.
    #[serde(default)]
    regenerate: Option<bool>,
    /// With an answer that is given anew: whether the old run leaves the history. `true` if left out.
    #[serde(default)]
    replace_original: Option<bool>,
    /// What the model is told beside the message.
    #[serde(default)]
    additional_instructions: Option<String>,
    /// Go on in a copy of the session that ends with this run; so any run may be continued, not only the newest.
    #[serde(default)]
    fork: Option<bool>,
    /// Not needed; where given, the run has to be of this session.
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

/// What a run takes from the one that it goes on from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Continuation {
    pub of: RunId,
    /// How many of its messages are kept, the user's first among them.
    pub keep: usize,
    /// What the user adds to them.
    pub added: Option<String>,
    /// Whether the old run leaves the history once this one has its answer.
    pub replaces: bool,
}

/// Goes on from the newest run of a session, or with `fork` from any, in a copy of the session.
///
/// A run with an answer takes `input`, or gives another answer with `regenerate` or `continue_from=last_user`; the old
/// run then has status `REGENERATED` and is no part of the history any more, unless `replace_original` is false. A run
/// that failed or was cancelled needs neither: it goes on after the tool calls that it had finished.
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
        (status = 202, description = "The new run goes on in the background", body = super::wire::AcceptedRun),
        (status = 409, description = "The run has not ended, or is not its session's newest", body = ProblemDocument, content_type = "application/problem+json"),
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
    _: NoQuery,
    headers: HeaderMap,
    FormOrJson { value: body, is_form, fingerprint }: FormOrJson<ContinueRun>,
) -> Result<Response, Problem> {
    let agent = app.agents.get(&agent_id)?;
    let caller = Caller::claiming(body.user_id.clone());
    let original = reading::find(&app, &caller.scope(), &agent_id, run_id, body.session_id.as_ref())
        .await
        .map_err(|problem| problem.saying(format!("No runs found for run ID {run_id}")))?;
    let path = format!("/agents/{agent_id}/runs/{run_id}/continue");
    let attempt = Attempt::new(&path, &headers, &fingerprint)?;
    let is_repeated = match &attempt {
        Some(attempt) => idempotency::is_known(&app, attempt).await?,
        None => false,
    };
    let scope = caller.scope();
    let copied = match body.fork {
        Some(true) if !is_repeated => Some(copy(&app, &scope, &original).await?),
        _ => None,
    };
    let begun = async {
        let original = copied.as_ref().unwrap_or(&original);
        let (run, continuation) = plan(&app, &scope, &body, original, is_repeated).await?;
        request::check(&run, &app.settings)?;
        let start = Start {
            caller,
            agent,
            stream: run.stream.unwrap_or(is_form && !run.is_background()),
            forked_from_run_id: continuation.is_none().then_some(run_id),
            regenerated_from: continuation.is_some().then_some(run_id),
            run,
            continuation,
        };
        begin(&app, start, is_form, attempt).await
    };
    let begun = begun.await;
    if let (Some(copied), Err(_)) = (&copied, &begun) {
        take_back(&app, &scope, copied).await?;
    }
    begun
}

/// Copies the session up to the run, and answers the run's copy.
async fn copy(app: &App, scope: &Scope, original: &Run) -> Result<Run, Problem> {
    let fork = Fork { up_to_run_id: Some(original.run_id), ..Fork::default() };
    let copy_id = sessions::service::fork(app, scope, &original.session_id, None, fork, &Claimed::default()).await?;
    let copied = newest(app, scope, &copy_id).await?;
    copied.ok_or_else(|| Problem::not_found("The session was deleted while it was copied"))
}

/// Removes a copy in which nothing has begun.
async fn take_back(app: &App, scope: &Scope, copied: &Run) -> Result<(), Problem> {
    if newest(app, scope, &copied.session_id).await?.is_some_and(|newest| newest.run_id == copied.run_id) {
        sessions::store::delete(&app.db, scope, std::slice::from_ref(&copied.session_id), None).await?;
    }
    Ok(())
}

async fn newest(app: &App, scope: &Scope, session_id: &SessionId) -> Result<Option<Run>, sqlx::Error> {
    let newest = RunFilter { limit: 1, ..RunFilter::default() };
    Ok(store::list(&app.db, scope, session_id, &newest).await?.into_iter().next())
}

/// What is to be run, and what it takes over.
async fn plan(
    app: &App,
    scope: &Scope,
    body: &ContinueRun,
    original: &Run,
    is_repeated: bool,
) -> Result<(CreateRun, Option<Continuation>), Problem> {
    if !original.status.is_final() {
        return Err(Problem::conflict("The run has not ended; wait for it, or cancel it"));
    }
    // The run that a repeated request began follows this one, and is what it is answered with.
    if !is_repeated && store::is_followed(&app.db, scope, &original.session_id, original.seq).await? {
        return Err(Problem::conflict(
            "The conversation has gone on after this run; with fork=true it is continued in a copy of the session",
        ));
    }
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let (input, instructions) = (given(&body.input), given(&body.additional_instructions));
    let is_regenerated = body.regenerate.unwrap_or(false);
    let is_complete = matches!(original.status, RunStatus::Completed | RunStatus::Regenerated);
    let run = |message: String| CreateRun {
        session_id: Some(original.session_id.clone()),
        user_id: body.user_id.clone(),
        stream: body.stream,
        background: body.background,
        metadata: Some(original.metadata.clone()).filter(|metadata| !metadata.is_empty()),
        ..CreateRun::of(message)
    };
    let joined = |parts: [Option<String>; 2]| {
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    };
    let keep_question = |added| Continuation {
        of: original.run_id,
        keep: 1,
        added,
        replaces: is_complete && body.replace_original.unwrap_or(true),
    };
    if is_regenerated {
        let message = input.unwrap_or_else(|| original.input.clone());
        return Ok((run(message), Some(keep_question(instructions))));
    }
    if !is_complete {
        let messages = reading::messages(app, scope, original).await?;
        let continuation =
            Continuation { keep: whole_rounds(&messages), ..keep_question(joined([input, instructions])) };
        return Ok((run(original.input.clone()), Some(continuation)));
    }
    let Some(input) = input else {
        return Err(Problem::invalid(
            "/input",
            "is missing: the run has its answer; say what comes next, or regenerate",
        ));
    };
    if body.continue_from == Some(From::LastUser) {
        return Ok((run(original.input.clone()), Some(keep_question(joined([Some(input), instructions])))));
    }
    let message = joined([Some(input), instructions]).unwrap_or_default();
    Ok((run(message), None))
}

/// How many messages there are up to the last finished tool call, and at least the user's.
fn whole_rounds(messages: &[Message]) -> usize {
    messages.iter().rposition(|message| message.role == Role::Tool).map_or(1, |last| last + 1)
}

/// What a run has said before it begins: copies of what it takes over after the user's message, and what was added.
pub(super) async fn begun(app: &App, continuation: &Continuation) -> Result<Vec<Message>, sqlx::Error> {
    let Some(original) = store::find(&app.db, &Scope::All, continuation.of).await? else { return Ok(Vec::new()) };
    let mut messages = store::messages_of(&app.db, &Scope::All, &original.session_id, &[original.seq]).await?;
    let kept = messages.remove(&original.seq).unwrap_or_default();
    let copies = kept.into_iter().take(continuation.keep).skip(1).map(|message| Message {
        message_id: uuid::Uuid::now_v7(),
        // They were paid for once.
        metrics: None,
        ..message
    });
    let added = continuation.added.clone().map(|text| Message::new(Role::User, Some(text), clock::now()));
    Ok(copies.chain(added).collect())
}
