//! Model → tools → model → … → answer.
//!
//! The loop knows nothing of HTTP and stores nothing: it reports its progress to the event log, and returns all
//! messages and tool executions.

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    agents::Agent,
    clock,
    events::{EventKind, EventLog},
    llm::{ErrorKind, ModelError, ModelReply, ModelRequest, Models},
    model::{
        AnsweredCall, Message, MessageMetrics, ModelInfo, ModelUsage, Role, RunError, RunErrorKind, RunMetrics,
        ToolCall, ToolExecution, ToolMetrics, UsageDetails,
    },
    processes::registry::StopSignal,
    prompt::{self, Context},
    text,
    tools::Toolbox,
};

/// The result of the loop, with or without a complete answer.
#[derive(Debug)]
pub(super) struct Execution {
    /// The answer, or the partial answer of a run that was ended early.
    pub content: Option<String>,
    /// Why the answer is not complete.
    pub error: Option<RunError>,
    /// Details of the error for operators, not shown to callers.
    pub error_detail: Option<String>,
    /// The messages after the user's message. Complete rounds only: each tool call with its result.
    pub messages: Vec<Message>,
    pub tools: Vec<ToolExecution>,
    /// The model that answered last.
    pub model: ModelInfo,
    pub metrics: RunMetrics,
}

/// What one execution needs.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    pub models: &'a Models,
    pub agent: &'a Agent,
    pub events: &'a EventLog,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Ends this run early.
    pub stop: &'a StopSignal,
    /// Ends every run of the process.
    pub shutdown: &'a CancellationToken,
    pub deadline: Instant,
    pub max_answer_bytes: usize,
}

struct Progress {
    messages: Vec<Message>,
    tools: Vec<ToolExecution>,
    usage: Vec<ModelUsage>,
    model: ModelInfo,
    /// The part of the current answer that has been received.
    partial: String,
    error_detail: Option<String>,
    started: Instant,
    time_to_first_token: Option<f64>,
}

impl Engine<'_> {
    /// Runs the loop to its end, after the messages in `begun`. Never fails: a failure is part of the result.
    pub(super) async fn run(&self, context: &Context, begun: Vec<Message>, toolbox: &mut Toolbox<'_>) -> Execution {
        let mut progress = Progress {
            messages: begun,
            tools: Vec::new(),
            usage: Vec::new(),
            model: self.agent.model_info.clone(),
            partial: String::new(),
            error_detail: None,
            started: Instant::now(),
            time_to_first_token: None,
        };
        let outcome = tokio::select! {
            outcome = self.converse(context, toolbox, &mut progress) => outcome,
            reason = self.stop.stopped() => Err(reason),
            () = self.shutdown.cancelled() => Err(RunError::interrupted()),
            () = tokio::time::sleep_until(self.deadline) => Err(RunError {
                kind: RunErrorKind::DeadlineExceeded,
                message: "The run took longer than the server allows (runs.deadline); what was said so far is kept.".into(),
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
        request.messages.extend(progress.messages.iter().filter_map(prompt::replay));
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
                answered.push(Box::pin(self.execute(call, toolbox, progress)).await);
            }
            // Add the whole round or nothing: a run stopped between two tools must leave no tool call without its
            // result.
            for message in std::iter::once(asked).chain(answered) {
                request.messages.extend(prompt::replay(&message));
                progress.messages.push(message);
            }
        }
    }

    async fn ask(&self, request: &ModelRequest, progress: &mut Progress) -> Result<ModelReply, RunError> {
        let name = &self.agent.model;
        self.events.push_with(|| EventKind::ModelRequestStarted { model: progress.model.clone() });
        let before = progress.started.elapsed().as_secs_f64();
        let reply = if self.stream {
            Box::pin(self.listen(request, progress)).await
        } else {
            self.models.complete(name, request).await.map_err(|error| progress.failed(error))
        };
        let mut reply = reply?;
        if let Some(content) = reply.content.as_deref().filter(|content| content.len() > self.max_answer_bytes) {
            progress.partial.push_str(&content[..content.floor_char_boundary(self.max_answer_bytes)]);
            return Err(self.answer_too_long());
        }
        progress.partial.clear();
        make_storable(&mut reply);
        let time_to_first_token = reply.time_to_first_token.as_secs_f64();
        progress.time_to_first_token.get_or_insert(before + time_to_first_token);
        progress.model = reply.model.clone();
        progress.count(&reply);
        self.events.push_with(|| EventKind::ModelRequestCompleted {
            model: reply.model.clone(),
            usage: reply.usage,
            time_to_first_token,
        });
        Ok(reply)
    }

    /// Streams the answer into the event log and into `progress.partial`.
    async fn listen(&self, request: &ModelRequest, progress: &mut Progress) -> Result<ModelReply, RunError> {
        let too_long = CancellationToken::new();
        let partial = &mut progress.partial;
        let mut on_delta = |delta: &str| {
            if partial.len() + delta.len() > self.max_answer_bytes {
                too_long.cancel();
            } else {
                partial.push_str(delta);
                self.events.push(EventKind::RunContent { delta: delta.to_owned() });
            }
        };
        let reply = tokio::select! {
            reply = self.models.stream(&self.agent.model, request, &mut on_delta) => reply,
            () = too_long.cancelled() => return Err(self.answer_too_long()),
        };
        reply.map_err(|error| progress.failed(error))
    }

    fn answer_too_long(&self) -> RunError {
        let message = format!(
            "The model said more than {} bytes (runs.max_answer_bytes); what fits is kept",
            self.max_answer_bytes
        );
        RunError { kind: RunErrorKind::AnswerTooLong, message }
    }

    async fn execute(&self, call: &ToolCall, toolbox: &mut Toolbox<'_>, progress: &mut Progress) -> Message {
        let started = clock::now();
        let clock = Instant::now();
        let mut execution = ToolExecution::started(call, started);
        self.events.push(EventKind::ToolCallStarted { tool: Box::new(execution.clone()) });
        let result = toolbox.call(call).await;
        let duration = clock.elapsed().as_secs_f64();
        let start_time = seconds(started);
        execution.tool_call_error = Some(result.is_err());
        execution.metrics = Some(ToolMetrics { start_time, end_time: start_time + duration, duration });
        let content = result.as_ref().map_or_else(|error| format!("Error: {error}"), Clone::clone);
        execution.result = Some(content.clone());
        let tool = Box::new(execution.clone());
        self.events.push(match result {
            Ok(_) => EventKind::ToolCallCompleted { tool },
            Err(error) => EventKind::ToolCallError { tool, error },
        });
        let is_error = execution.tool_call_error.unwrap_or_default();
        progress.tools.push(execution);
        let mut message = Message::new(Role::Tool, Some(content), clock::now());
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
    /// Separates the message for callers from the details for operators.
    fn failed(&mut self, mut error: ModelError) -> RunError {
        text::replace_nul_in(&mut error.detail);
        self.error_detail = Some(error.detail);
        let kind = match error.kind {
            ErrorKind::TimedOut => RunErrorKind::ModelTimeout,
            ErrorKind::TooLarge => RunErrorKind::AnswerTooLong,
            _ => RunErrorKind::ModelProviderError,
        };
        RunError { kind, message: error.message }
    }

    fn count(&mut self, reply: &ModelReply) {
        match self.usage.iter_mut().find(|known| known.model == reply.model) {
            Some(known) => known.usage += reply.usage,
            None => self.usage.push(ModelUsage { model: reply.model.clone(), usage: reply.usage }),
        }
    }

    fn finish(mut self, outcome: Result<String, RunError>) -> Execution {
        let model = std::mem::take(&mut self.usage);
        let mut metrics = RunMetrics::of(UsageDetails { model, ..UsageDetails::default() });
        metrics.time_to_first_token = self.time_to_first_token;
        metrics.duration = Some(self.started.elapsed().as_secs_f64());
        let (content, error) = match outcome {
            Ok(answer) => (Some(answer), None),
            Err(error) => (self.keep_partial(), Some(error)),
        };
        Execution {
            content,
            error,
            error_detail: self.error_detail,
            messages: self.messages,
            tools: self.tools,
            model: self.model,
            metrics,
        }
    }

    /// Keeps a partial answer as a message of the run.
    fn keep_partial(&mut self) -> Option<String> {
        let mut partial = std::mem::take(&mut self.partial);
        if partial.is_empty() {
            return None;
        }
        text::replace_nul_in(&mut partial);
        self.messages.push(Message::new(Role::Assistant, Some(partial.clone()), clock::now()));
        Some(partial)
    }
}

fn assistant_message(reply: ModelReply) -> Message {
    let mut message = Message::new(Role::Assistant, reply.content, clock::now());
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

/// Replaces what PostgreSQL cannot store: NUL characters, and arguments that are nested too deeply.
fn make_storable(reply: &mut ModelReply) {
    for text in [&mut reply.content, &mut reply.reasoning].into_iter().flatten() {
        text::replace_nul_in(text);
    }
    for call in &mut reply.tool_calls {
        text::replace_nul(&mut call.arguments);
        if text::depth(&call.arguments) > text::MAX_DEPTH {
            // As a string they can be stored; the tool will refuse them.
            call.arguments = call.arguments.to_string().into();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit 52 bits until the year 2112")]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_micros() as f64 / 1_000_000.0
}
