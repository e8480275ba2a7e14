//! Runs as the statements select them: each with the user's message and the answer.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::model::{Message, MessageMetrics, Role};

pub(super) struct RunRow {
    pub(super) seq: i64,
    pub(super) tokens: Option<i32>,
    /// How many runs there are, with those that do not fit.
    pub(super) found: i64,
    pub(super) input: String,
    pub(super) message_id: Option<Uuid>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) answer_index: Option<i32>,
    pub(super) answer_id: Option<Uuid>,
    pub(super) content: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) answer_metrics: Option<Json<MessageMetrics>>,
    pub(super) provider_data: Option<Value>,
    pub(super) answered_at: Option<DateTime<Utc>>,
}

impl RunRow {
    /// `false` if the answer is next to the user's message, so that there is nothing between them.
    pub(super) fn may_have_steps(&self) -> bool {
        self.message_id.is_none() || self.answer_index != Some(1)
    }

    /// `steps`: the messages between the user's and the answer.
    pub(super) fn into_messages(self, steps: Vec<Message>) -> Vec<Message> {
        let mut messages = Vec::with_capacity(2 + steps.len());
        if let Some(message_id) = self.message_id {
            messages.push(Message { message_id, ..Message::new(Role::User, Some(self.input), self.created_at) });
        }
        messages.extend(steps);
        if let (Some(_), Some(message_id), Some(answered_at)) = (self.answer_index, self.answer_id, self.answered_at) {
            messages.push(Message {
                message_id,
                reasoning: self.reasoning,
                metrics: self.answer_metrics.map(|metrics| metrics.0),
                provider_data: self.provider_data,
                ..Message::new(Role::Assistant, self.content, answered_at)
            });
        }
        messages
    }
}

/// A row of the session with one of its runs; without one, if none fits.
pub(super) struct PastRow {
    pub(super) unfolded_tokens: i64,
    pub(super) unfolded_runs: i64,
    pub(super) summary_through: i64,
    pub(super) summary: Option<String>,
    pub(super) topics: Option<Vec<String>>,
    pub(super) seq: Option<i64>,
    pub(super) tokens: Option<i32>,
    pub(super) found: Option<i64>,
    pub(super) input: Option<String>,
    pub(super) message_id: Option<Uuid>,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) answer_index: Option<i32>,
    pub(super) answer_id: Option<Uuid>,
    pub(super) content: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) answer_metrics: Option<Json<MessageMetrics>>,
    pub(super) provider_data: Option<Value>,
    pub(super) answered_at: Option<DateTime<Utc>>,
}

impl PastRow {
    pub(super) fn into_run(self) -> Option<RunRow> {
        Some(RunRow {
            seq: self.seq?,
            tokens: self.tokens,
            found: self.found.unwrap_or_default(),
            input: self.input?,
            message_id: self.message_id,
            created_at: self.created_at?,
            answer_index: self.answer_index,
            answer_id: self.answer_id,
            content: self.content,
            reasoning: self.reasoning,
            answer_metrics: self.answer_metrics,
            provider_data: self.provider_data,
            answered_at: self.answered_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn run(has_user_message: bool, answer_index: Option<i32>) -> RunRow {
        RunRow {
            seq: 1,
            tokens: None,
            found: 1,
            input: "Hi".into(),
            message_id: has_user_message.then(Uuid::now_v7),
            created_at: clock::now(),
            answer_index,
            answer_id: answer_index.map(|_| Uuid::now_v7()),
            content: Some("Hello".into()),
            reasoning: None,
            answer_metrics: None,
            provider_data: None,
            answered_at: answer_index.map(|_| clock::now()),
        }
    }

    #[test]
    fn a_run_is_its_users_message_then_its_steps_then_its_answer() {
        let step = || Message::new(Role::Assistant, Some("Wait".into()), clock::now());
        for (has_user_message, answer_index, steps, said) in [
            (true, Some(1), vec![], vec!["Hi", "Hello"]),
            (true, Some(2), vec![step()], vec!["Hi", "Wait", "Hello"]),
            (true, None, vec![step()], vec!["Hi", "Wait"]),
            (false, Some(1), vec![step()], vec!["Wait", "Hello"]),
            (false, None, vec![], vec![]),
        ] {
            let row = run(has_user_message, answer_index);
            assert!(steps.is_empty() || row.may_have_steps(), "{has_user_message} {answer_index:?}");
            let messages = row.into_messages(steps);
            let texts: Vec<&str> = messages.iter().filter_map(|message| message.content.as_deref()).collect();
            assert_eq!(texts, said);
        }
        assert!(!run(true, Some(1)).may_have_steps());
    }
}
