//! Asking a model for JSON: once, and once more with what was wrong.
//!
//! All background work asks here, so what a useless model costs is bounded here: see [`Breakers`].

mod breaker;

use std::time::Duration;

use super::{
    SessionId,
    costs::{self, Purpose},
};
use crate::{
    app::App,
    jobs::Later,
    llm::{ErrorKind, ModelError, ModelInfo, ModelReply, ModelRequest, Models, PromptMessage},
    runs::model::ModelUsage,
    text,
};

pub use breaker::{Breakers, Resting};

/// Why no usable answer has come.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// `retry_in`: the model fails at everything, so that it is left alone for that long. `None`: it answers others.
    #[error("{error}")]
    Model { error: ModelError, retry_in: Option<Duration> },
    /// It was not asked.
    #[error(transparent)]
    Resting(#[from] Resting),
    /// The reason is ours; nothing of the answer is in it.
    #[error("The model's answers could not be used: {0}")]
    Unusable(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl AskError {
    /// Where the model is to blame, and not what it was asked about: when to ask it again.
    pub fn later(&self) -> Option<Later> {
        let after = match self {
            Self::Model { retry_in, .. } => (*retry_in)?,
            Self::Resting(resting) => resting.retry_in,
            Self::Unusable(_) | Self::Database(_) => return None,
        };
        Some(Later { after, reason: self.to_string() })
    }

    /// For a job that asks about one thing.
    pub fn into_job_error(self) -> anyhow::Error {
        self.later().map_or_else(|| self.into(), Into::into)
    }
}

/// A usable answer, and who gave it.
#[derive(Debug)]
pub struct Answered<T> {
    pub value: T,
    pub model: ModelInfo,
}

/// What is asked of which model, and which costs of which session it goes to.
#[derive(Debug)]
pub struct Question<'a> {
    pub session_id: &'a SessionId,
    pub purpose: Purpose,
    pub model: &'a str,
    /// Whether somebody waits for the answer: then the model is asked even if it is being left alone.
    pub is_asked_for: bool,
    pub request: ModelRequest,
}

/// So much of a refused answer is shown to the model again.
const SHOWN_CHARS: usize = 2_000;

/// Asks the model. Each call goes to the costs as soon as it is made, whatever becomes of its answer.
///
/// `read` makes a value of the answer, or a complaint that the model gets to hear; it is told whether this is the last
/// answer that is asked for.
pub async fn ask<T>(
    app: &App,
    question: Question<'_>,
    read: impl Fn(&str, bool) -> Result<T, String>,
    complaint: impl Fn(&str) -> String,
) -> Result<Answered<T>, AskError> {
    let Question { session_id, purpose, model, is_asked_for, mut request } = question;
    let pass = app.breakers.enter(model, purpose, is_asked_for)?;
    for last in [false, true] {
        let reply = match complete(&app.models, model, &mut request).await {
            Ok(reply) => reply,
            Err(error) => {
                let (kind, detail) = (error.kind, &error.detail);
                tracing::warn!(model, session.id = %session_id, error.kind = ?kind, detail, "A model gave no answer.");
                return Err(AskError::Model { retry_in: pass.failed(&error.message), error });
            }
        };
        costs::add(&app.db, session_id, purpose, &ModelUsage { model: reply.model.clone(), usage: reply.usage })
            .await?;
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

/// A model that cannot be held to a form refuses the request; in words it has been told anyway.
async fn complete(models: &Models, name: &str, request: &mut ModelRequest) -> Result<ModelReply, ModelError> {
    match models.complete(name, request).await {
        Err(error) if error.kind == ErrorKind::Refused && request.response.is_some() => {
            request.response = None;
            models.complete(name, request).await
        }
        outcome => outcome,
    }
}
