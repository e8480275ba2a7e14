//! Asks a model for JSON; after an unusable answer once more, with the complaint.
//!
//! All background work asks here, so the cost of a useless model is bounded here: see [`Breakers`].

mod breaker;

use std::time::Duration;

use super::{Purpose, store};
use crate::{
    app::App,
    jobs::Later,
    llm::{ErrorKind, ModelError, ModelReply, ModelRequest, Models, PromptMessage},
    model::{ModelInfo, ModelUsage, SessionId, TenantId},
    text,
};

pub use self::breaker::{Breakers, Resting};

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// `retry_in` is how long the model rests, because it keeps failing; `None` if its breaker is closed.
    #[error("{error}")]
    Model { error: ModelError, retry_in: Option<Duration> },
    /// The model was not asked, because its breaker is open.
    #[error(transparent)]
    Resting(#[from] Resting),
    /// The reason is our own text, and quotes nothing of the answer.
    #[error("The model's answers could not be used: {0}")]
    Unusable(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl AskError {
    /// When to ask again, if the model as such is failing. `None` if this question may be the reason.
    pub fn later(&self) -> Option<Later> {
        let after = match self {
            Self::Model { retry_in, .. } => (*retry_in)?,
            Self::Resting(resting) => resting.retry_in,
            Self::Unusable(_) | Self::Database(_) => return None,
        };
        Some(Later { after, reason: self.to_string() })
    }

    /// The error of a job that asks one question: [`Later`] if the model as such is failing.
    pub fn into_job_error(self) -> anyhow::Error {
        self.later().map_or_else(|| self.into(), Into::into)
    }
}

/// A usable answer, and the model that gave it.
#[derive(Debug)]
pub struct Answered<T> {
    pub value: T,
    pub model: ModelInfo,
}

/// What to ask which model, and the session and purpose that its usage is counted for.
#[derive(Debug)]
pub struct Question<'a> {
    pub tenant_id: &'a TenantId,
    pub session_id: &'a SessionId,
    pub purpose: Purpose,
    pub model: &'a str,
    /// Whether somebody waits for the answer: then the model is asked even if its breaker is open.
    pub is_asked_for: bool,
    pub request: ModelRequest,
}

/// Characters of a refused answer that are shown to the model again.
const SHOWN_CHARS: usize = 2_000;

/// Asks the model. The usage of each call is stored at once, whether or not its answer is usable.
///
/// `read` parses an answer, or returns a complaint that the model is shown. Its second argument tells whether this is
/// the last attempt.
pub async fn ask<T>(
    app: &App,
    question: Question<'_>,
    read: impl Fn(&str, bool) -> Result<T, String>,
    complaint: impl Fn(&str) -> String,
) -> Result<Answered<T>, AskError> {
    let Question { tenant_id, session_id, purpose, model, is_asked_for, mut request } = question;
    let breakers = Breakers::of(app);
    let pass = breakers.enter(model, purpose, is_asked_for)?;
    for last in [false, true] {
        let reply = match complete(&app.models, model, &mut request).await {
            Ok(reply) => reply,
            Err(error) => {
                let (kind, detail) = (error.kind, &error.detail);
                tracing::warn!(model, session.id = %session_id, error.kind = ?kind, detail, "A model gave no answer.");
                return Err(AskError::Model { retry_in: pass.failed(&error.message), error });
            }
        };
        let usage = ModelUsage { model: reply.model.clone(), usage: reply.usage };
        store::add(&app.db, tenant_id, session_id, purpose, &usage).await?;
        let answer = reply.content.unwrap_or_default();
        let reason = match read(&answer, last) {
            Ok(value) => {
                pass.succeeded();
                return Ok(Answered { value, model: reply.model });
            }
            Err(reason) => reason,
        };
        // Without the content: it may quote the conversation.
        tracing::warn!(model, bytes = answer.len(), reason, "A model's answer cannot be used.");
        if last {
            pass.failed(&format!("its answer could not be used: {reason}"));
            return Err(AskError::Unusable(reason));
        }
        let shown = text::truncate(&answer, SHOWN_CHARS);
        request.messages.push(PromptMessage::Assistant { content: Some(shown), tool_calls: Vec::new() });
        request.messages.push(PromptMessage::User(complaint(&reason)));
    }
    Err(AskError::Unusable("there was none".into()))
}

/// Retries a refused request without the response schema, for models that support none: the prompt describes the form
/// anyway.
async fn complete(models: &Models, name: &str, request: &mut ModelRequest) -> Result<ModelReply, ModelError> {
    match models.complete(name, request).await {
        Err(error) if error.kind == ErrorKind::Refused && request.response.is_some() => {
            request.response = None;
            models.complete(name, request).await
        }
        outcome => outcome,
    }
}
