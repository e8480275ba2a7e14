//! Continues a run that has ended: with more input, with a regenerated answer, or from the point of failure.
//!
//! A new run that repeats a turn replaces the old run, so that no turn appears twice in the history.

use crate::{
    app::App,
    clock,
    idempotency::Claimed,
    model::{Error, Message, Role, Run, RunStatus, Scope, SessionId, TenantId},
    runs::{
        reading,
        spec::{Continuation, Delivery, RunSpec},
        store::{self, RunFilter},
    },
    sessions::{self, service::Fork},
};

/// The point from which a run is continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// After its answer.
    #[default]
    End,
    /// After the user's message: the answer is regenerated.
    LastUser,
}

/// How to continue a run. A completed run needs `input` or `regenerate`; a run that failed needs neither.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The next user message. With `regenerate`, it replaces the original message.
    pub input: Option<String>,
    pub origin: Origin,
    /// Answer the same message again.
    pub regenerate: bool,
    /// If the answer is regenerated: whether the old run leaves the history.
    pub replace_original: bool,
    /// Instructions to the model in addition to the message.
    pub additional_instructions: Option<String>,
    pub delivery: Delivery,
}

/// Forks the session up to the run, and returns the copy of the run.
pub async fn copy(app: &App, scope: &Scope, original: &Run) -> Result<Run, Error> {
    let fork = Fork { up_to_run_id: Some(original.run_id), ..Fork::default() };
    let copy_id = sessions::service::fork(app, scope, &original.session_id, None, fork, &Claimed::default()).await?;
    let copied = newest(app, scope, &copy_id).await?;
    copied.ok_or_else(|| Error::not_found("The session was deleted while it was copied"))
}

/// Deletes the fork, unless a run was added to it.
pub async fn take_back(app: &App, scope: &Scope, copied: &Run) -> Result<(), Error> {
    if newest(app, scope, &copied.session_id).await?.is_some_and(|newest| newest.run_id == copied.run_id) {
        sessions::store::delete(&app.db, scope, std::slice::from_ref(&copied.session_id), None).await?;
    }
    Ok(())
}

async fn newest(app: &App, scope: &Scope, session_id: &SessionId) -> Result<Option<Run>, sqlx::Error> {
    let newest = RunFilter { limit: 1, ..RunFilter::default() };
    Ok(store::list(&app.db, scope, session_id, &newest).await?.into_iter().next())
}

/// Plans the new run, including what it takes over from the original.
pub async fn plan(
    app: &App,
    scope: &Scope,
    wanted: &Wanted,
    original: &Run,
    is_repeated: bool,
) -> Result<RunSpec, Error> {
    if !original.status.is_final() {
        return Err(Error::conflict("The run has not ended; wait for it, or cancel it"));
    }
    // A repeated request (same `Idempotency-Key`) is answered with the run that it began, which follows this one.
    if !is_repeated && store::is_followed(&app.db, scope, &original.session_id, original.seq).await? {
        return Err(Error::conflict(
            "The conversation has gone on after this run; with fork=true it is continued in a copy of the session",
        ));
    }
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let (input, instructions) = (given(&wanted.input), given(&wanted.additional_instructions));
    let is_complete = matches!(original.status, RunStatus::Completed | RunStatus::Regenerated);
    let spec = |message: String, continuation: Option<Continuation>| RunSpec {
        session_id: Some(original.session_id.clone()),
        metadata: original.metadata.clone(),
        delivery: wanted.delivery.clone(),
        continuation,
        ..RunSpec::of(message)
    };
    let joined = |parts: [Option<String>; 2]| {
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    };
    let keep_question =
        |added| Continuation { of: original.run_id, keep: 1, added, replaces: is_complete && wanted.replace_original };
    if wanted.regenerate {
        let message = input.unwrap_or_else(|| original.input.clone());
        return Ok(spec(message, Some(keep_question(instructions))));
    }
    if !is_complete {
        let messages = reading::messages(app, scope, original).await?;
        let continuation =
            Continuation { keep: whole_rounds(&messages), ..keep_question(joined([input, instructions])) };
        return Ok(spec(original.input.clone(), Some(continuation)));
    }
    let Some(input) = input else {
        return Err(Error::invalid("/input", "is missing: the run has its answer; say what comes next, or regenerate"));
    };
    if wanted.origin == Origin::LastUser {
        return Ok(spec(original.input.clone(), Some(keep_question(joined([Some(input), instructions])))));
    }
    let message = joined([Some(input), instructions]).unwrap_or_default();
    Ok(spec(message, None))
}

/// The number of messages up to the last tool result; at least 1, for the user's message.
fn whole_rounds(messages: &[Message]) -> usize {
    messages.iter().rposition(|message| message.role == Role::Tool).map_or(1, |last| last + 1)
}

/// The messages that a continuation begins with: copies of the kept messages after the user's, and the added one.
pub(crate) async fn begun(
    app: &App,
    tenant: &TenantId,
    continuation: &Continuation,
) -> Result<Vec<Message>, sqlx::Error> {
    let scope = Scope::System(tenant.clone(), "whoever planned the continuation could see the run");
    let Some(original) = store::find(&app.db, &scope, continuation.of).await? else { return Ok(Vec::new()) };
    let mut messages = store::messages_of(&app.db, &scope, &original.session_id, &[original.seq]).await?;
    let kept = messages.remove(&original.seq).unwrap_or_default();
    let copies = kept.into_iter().take(continuation.keep).skip(1).map(|message| Message {
        message_id: uuid::Uuid::now_v7(),
        // The original's metrics count them already.
        metrics: None,
        ..message
    });
    let added = continuation.added.clone().map(|text| Message::new(Role::User, Some(text), clock::now()));
    Ok(copies.chain(added).collect())
}
