//! Asking a model for JSON: once, and once more with what was wrong.

use crate::{
    llm::{ErrorKind, ModelError, ModelInfo, ModelReply, ModelRequest, Models, PromptMessage},
    runs::model::ModelUsage,
    text,
};

/// Why no usable answer has come.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("The model failed: {0}")]
    Model(#[from] ModelError),
    /// The reason is ours; nothing of the answer is in it.
    #[error("The model's answers could not be used: {0}")]
    Unusable(String),
}

/// A usable answer, who gave it, and what it took.
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub(super) value: T,
    pub(super) model: ModelInfo,
    pub(super) usage: Vec<ModelUsage>,
}

/// So much of a refused answer is shown to the model again.
const SHOWN_CHARS: usize = 2_000;

/// Asks the model of this name. `read` makes a value of the answer, or a complaint that the model gets to hear; it is
/// told whether this is the last answer that is asked for.
pub(super) async fn ask<T>(
    models: &Models,
    name: &str,
    mut request: ModelRequest,
    read: impl Fn(&str, bool) -> Result<T, String>,
    complaint: impl Fn(&str) -> String,
) -> Result<Answered<T>, AskError> {
    let mut usage = Vec::new();
    for last in [false, true] {
        let reply = complete(models, name, &mut request).await?;
        usage.push(ModelUsage { model: reply.model.clone(), usage: reply.usage });
        let answer = reply.content.unwrap_or_default();
        let reason = match read(&answer, last) {
            Ok(value) => return Ok(Answered { value, model: reply.model, usage }),
            Err(reason) => reason,
        };
        if last {
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
