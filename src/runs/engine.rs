//! Model → tools → model → … → answer.
//!
//! The engine knows nothing of HTTP and stores nothing: it reports what happens to the event log, and answers with
//! everything that was said and done.

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    context::{self, Context},
    events::{EventKind, EventLog},
    model::{
        AnsweredCall, Message, MessageMetrics, ModelUsage, Role, RunError, RunErrorKind, RunMetrics, UsageDetails,
    },
    wire::{ToolExecution, ToolMetrics},
};
use crate::{
    agents::Agent,
    llm::{ErrorKind, ModelError, ModelInfo, ModelReply, ModelRequest, Models, ToolCall},
    text,
    tools::Toolbox,
};

/// Everything that was said and done, whether or not an answer came of it.
#[derive(Debug)]
pub struct Execution {
    pub outcome: Result<String, RunError>,
    /// What was said after the user's message: whole rounds only, each tool call with its result.
    pub messages: Vec<Message>,
    pub tools: Vec<ToolExecution>,
    /// The model that answered last.
    pub model: ModelInfo,
    pub metrics: RunMetrics,
}

/// What one execution needs.
#[derive(Debug)]
pub struct Engine<'a> {
    pub models: &'a Models,
    pub agent: &'a Agent,
    pub events: &'a EventLog,
    /// Whether somebody wants to hear the answer piece by piece.
    pub stream: bool,
    /// Ends the run early.
    pub stop: &'a CancellationToken,
}

struct Progress {
    messages: Vec<Message>,
    tools: Vec<ToolExecution>,
    usage: Vec<ModelUsage>,
    model: ModelInfo,
    started: Instant,
    time_to_first_token: Option<f64>,
}

impl Engine<'_> {
    /// Runs to the end. Never fails: a failure is an outcome.
    pub async fn run(&self, context: &Context, toolbox: &mut Toolbox<'_>) -> Execution {
        let mut progress = Progress {
            messages: Vec::new(),
            tools: Vec::new(),
            usage: Vec::new(),
            model: self.agent.model_info.clone(),
            started: Instant::now(),
            time_to_first_token: None,
        };
        let outcome = tokio::select! {
            outcome = self.converse(context, toolbox, &mut progress) => outcome,
            () = self.stop.cancelled() => Err(RunError {
                kind: RunErrorKind::Interrupted,
                message: "The server stopped before the run had ended. Send the message again.".into(),
            }),
        };
        progress.finish(outcome)
    }

    async fn converse(
        &self,
        context: &Context,
        toolbox: &mut Toolbox<'_>,
        progress: &mut Progress,
    ) -> Result<String, RunError> {
        let limit = self.agent.settings.tool_call_limit as usize;
        let mut request = ModelRequest {
            system: context.system.clone(),
            messages: context.prompt(),
            tools: toolbox.specs(),
            response: None,
        };
        loop {
            let may_call_tools = progress.tools.len() < limit;
            if !may_call_tools {
                request.tools.clear();
            }
            let reply = self.ask(&request, progress).await?;
            if reply.tool_calls.is_empty() {
                let content = reply.content.clone().unwrap_or_default();
                progress.messages.push(assistant_message(reply));
                self.events.push(EventKind::RunContentCompleted);
                return Ok(content);
            }
            if !may_call_tools {
                return Err(RunError {
                    kind: RunErrorKind::ToolLoop,
                    message: format!(
                        "The model made {limit} tool calls without an answer; raise the agent's tool_call_limit, \
                         or tell it in its instructions when to stop"
                    ),
                });
            }
            let calls = reply.tool_calls.clone();
            let asked = assistant_message(reply);
            let mut answered = Vec::with_capacity(calls.len());
            for call in &calls {
                answered.push(self.execute(call, toolbox, progress).await);
            }
            // All of the round or nothing: a run that is stopped between two tools must not leave a call unanswered.
            for message in std::iter::once(asked).chain(answered) {
                request.messages.extend(context::replay(&message));
                progress.messages.push(message);
            }
        }
    }

    async fn ask(&self, request: &ModelRequest, progress: &mut Progress) -> Result<ModelReply, RunError> {
        let name = &self.agent.model;
        self.events.push(EventKind::ModelRequestStarted(progress.model.clone()));
        let before = progress.started.elapsed().as_secs_f64();
        let reply = if self.stream {
            let mut on_delta = |delta: &str| self.events.push(EventKind::RunContent { delta: delta.to_owned() });
            self.models.stream(name, request, &mut on_delta).await
        } else {
            self.models.complete(name, request).await
        };
        let mut reply = reply.map_err(RunError::from)?;
        make_storable(&mut reply);
        let time_to_first_token = reply.time_to_first_token.as_secs_f64();
        progress.time_to_first_token.get_or_insert(before + time_to_first_token);
        progress.model = reply.model.clone();
        progress.count(&reply);
        self.events.push(EventKind::ModelRequestCompleted {
            model: reply.model.clone(),
            usage: reply.usage,
            time_to_first_token,
        });
        Ok(reply)
    }

    async fn execute(&self, call: &ToolCall, toolbox: &mut Toolbox<'_>, progress: &mut Progress) -> Message {
        let started = Utc::now();
        let clock = Instant::now();
        let mut execution = ToolExecution::started(call, started);
        self.events.push(EventKind::ToolCallStarted(Box::new(execution.clone())));
        let result = toolbox.call(call).await;
        let duration = clock.elapsed().as_secs_f64();
        let start_time = seconds(started);
        execution.tool_call_error = Some(result.is_err());
        execution.metrics = Some(ToolMetrics { start_time, end_time: start_time + duration, duration });
        let content = result.as_ref().map_or_else(|error| format!("Error: {error}"), Clone::clone);
        execution.result = Some(content.clone());
        let tool = Box::new(execution.clone());
        self.events.push(match result {
            Ok(_) => EventKind::ToolCallCompleted { tool, content: describe(call, duration) },
            Err(error) => EventKind::ToolCallError { tool, error },
        });
        let is_error = execution.tool_call_error.unwrap_or_default();
        progress.tools.push(execution);
        let mut message = Message::new(Role::Tool, Some(content), Utc::now());
        message.answers = Some(AnsweredCall {
            tool_call_id: call.id.clone(),
            tool_name: call.name.clone(),
            tool_args: call.arguments.clone(),
            tool_call_error: is_error,
        });
        message
    }
}

impl Progress {
    fn count(&mut self, reply: &ModelReply) {
        match self.usage.iter_mut().find(|known| known.model == reply.model) {
            Some(known) => known.usage += reply.usage,
            None => self.usage.push(ModelUsage { model: reply.model.clone(), usage: reply.usage }),
        }
    }

    fn finish(self, outcome: Result<String, RunError>) -> Execution {
        let mut metrics = RunMetrics::of(UsageDetails { model: self.usage, ..UsageDetails::default() });
        metrics.time_to_first_token = self.time_to_first_token;
        metrics.duration = Some(self.started.elapsed().as_secs_f64());
        Execution { outcome, messages: self.messages, tools: self.tools, model: self.model, metrics }
    }
}

impl From<ModelError> for RunError {
    fn from(error: ModelError) -> Self {
        let kind = match error.kind {
            ErrorKind::TimedOut => RunErrorKind::ModelTimeout,
            _ => RunErrorKind::ModelProviderError,
        };
        Self { kind, message: error.message }
    }
}

fn assistant_message(reply: ModelReply) -> Message {
    let mut message = Message::new(Role::Assistant, reply.content, Utc::now());
    message.reasoning = reply.reasoning;
    message.tool_calls = (!reply.tool_calls.is_empty()).then_some(reply.tool_calls);
    message.provider_data = reply.response_id.map(|id| json!({ "id": id }));
    message.metrics = Some(MessageMetrics {
        usage: reply.usage,
        duration: reply.duration.as_secs_f64(),
        time_to_first_token: reply.time_to_first_token.as_secs_f64(),
    });
    message
}

/// A model may say what PostgreSQL cannot store.
fn make_storable(reply: &mut ModelReply) {
    for text in [&mut reply.content, &mut reply.reasoning].into_iter().flatten() {
        text::replace_nul_in(text);
    }
    for call in &mut reply.tool_calls {
        text::replace_nul(&mut call.arguments);
        if text::depth(&call.arguments) > text::MAX_DEPTH {
            // As text they can be stored, and the tool will refuse them.
            call.arguments = call.arguments.to_string().into();
        }
    }
}

/// The wire's sentence about a finished call: `get_weather(city=Paris) completed in 0.0047s. `
fn describe(call: &ToolCall, seconds: f64) -> String {
    let arguments: Vec<String> = call
        .arguments
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), Into::into)))
        .collect();
    format!("{}({}) completed in {seconds:.4}s. ", call.name, arguments.join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit 52 bits until the year 2112")]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_micros() as f64 / 1_000_000.0
}
