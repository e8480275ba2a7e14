//! Background work that must not be lost: what there is to do, and who does it.
//!
//! A job is a row, [`enqueue`]d in the transaction of what made it necessary, or after it where that left a row which the
//! clock finds. Workers, tokio tasks of any process, take it up; one that fails is tried again with growing pauses, and
//! after its last attempt it stays with its error until somebody retries it over `/jobs`. A job that cannot be done now,
//! through no fault of its own, is put back and keeps its attempts ([`Later`]); so is one of a kind that only a newer
//! build knows. `queue` alone names the queue's library, `store` reads what stands in it.
//!
//! *Architecture Invariant:* a job is safe to run twice, and says nothing but what to look at: what it works on is read
//! when it runs. Jobs with the same key are one job as long as none of them has begun.

pub mod model;
mod queue;
pub mod routes;
mod schedule;
mod store;

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    app::App,
    auth::UserId,
    http::idempotency,
    memories,
    runs::{self, RunId, WebhookUrl, webhook},
    search,
    sessions::{self, SessionId, retention},
};

pub use queue::{
    count_attempt, enqueue, enqueue_first, enqueue_unless_there, forget, forget_user, has_failed, hasten_learning,
    is_waiting, migrate, park, run_due, spawn_workers, unpark_learning, users_without_job,
};

/// Something to be done in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Job {
    /// Remove what has expired.
    CleanUp,
    /// Forget the lines of jobs that are done.
    TidyQueue,
    /// Tell the end of a run to whoever asked for it. The URL is never part of what is queued: it stands in the run's row.
    /// Only an older build queues it.
    DeliverWebhook {
        run_id: RunId,
        #[serde(default, skip_serializing)]
        url: Option<WebhookUrl>,
    },
    /// Take the oldest runs of a session into its summary, by the summary manager of this agent.
    FoldSession { session_id: SessionId, agent_id: String },
    /// Find a better name for a session.
    TitleSession { session_id: SessionId, agent_id: String },
    /// Learn from the unread turns of a user.
    Learn { user_id: UserId },
    /// Have the turns of a user read again that were set aside. It stands among the failed jobs until somebody retries it.
    LearnAgain { user_id: UserId },
    /// Make the vectors that are missing.
    EmbedNew,
}

/// The kinds that this build knows. A worker takes no others.
const KINDS: [&str; 8] =
    ["clean_up", "tidy_queue", "deliver_webhook", "fold_session", "title_session", "learn", "learn_again", "embed_new"];

/// A job that cannot be done now, through no fault of its own. It is put back, and loses no attempt.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Later {
    pub after: Duration,
    pub reason: String,
}

impl Job {
    /// Does it. An error means another attempt.
    async fn run(self, app: &Arc<App>) -> anyhow::Result<()> {
        match self {
            Self::CleanUp => {
                // One that fails keeps none of the others from being done.
                let done = [
                    runs::clean_up(app).await,
                    idempotency::sweep(app).await.map(drop),
                    search::vectors::sweep(app).await.map_err(Into::into),
                    memories::extraction::sweep(app).await.map_err(Into::into),
                    memories::service::sweep(app).await.map_err(Into::into),
                    retention::sweep(app).await.map(drop),
                ];
                done.into_iter().collect()
            }
            Self::TidyQueue => queue::tidy(app).await,
            Self::DeliverWebhook { run_id, url } => webhook::deliver(app, run_id, url).await,
            Self::FoldSession { session_id, agent_id } => {
                sessions::summary::fold_session(app, &session_id, &agent_id).await
            }
            Self::TitleSession { session_id, agent_id } => {
                sessions::title::title_session(app, &session_id, &agent_id).await
            }
            Self::Learn { user_id } => memories::extraction::learn(app, &user_id).await,
            Self::LearnAgain { user_id } => Ok(memories::extraction::learn_again(app, &user_id).await?),
            Self::EmbedNew => search::vectors::embed_new(app).await,
        }
    }

    /// Jobs of the same key are one job, until it begins.
    fn key(&self) -> String {
        match self {
            Self::CleanUp => "clean_up".into(),
            Self::TidyQueue => "tidy_queue".into(),
            Self::DeliverWebhook { run_id, .. } => format!("deliver_webhook:{run_id}"),
            Self::FoldSession { session_id, .. } => format!("fold:{}", digest(session_id.as_str())),
            Self::TitleSession { session_id, .. } => format!("title:{}", digest(session_id.as_str())),
            Self::Learn { user_id } => format!("learn:{}", digest(user_id.as_str())),
            Self::LearnAgain { user_id } => format!("learn_again:{}", digest(user_id.as_str())),
            Self::EmbedNew => "embed_new".into(),
        }
    }

    /// Jobs of the same line are done one after the other.
    fn line(&self) -> Option<String> {
        match self {
            Self::CleanUp | Self::TidyQueue | Self::DeliverWebhook { .. } => None,
            Self::FoldSession { .. } | Self::TitleSession { .. } | Self::EmbedNew => Some(self.key()),
            Self::Learn { user_id } | Self::LearnAgain { user_id } => {
                Some(format!("learn:{}", digest(user_id.as_str())))
            }
        }
    }

    /// How often it is tried. The pauses grow as e to the number of tries, in seconds.
    fn max_attempts(&self) -> i32 {
        match self {
            Self::CleanUp
            | Self::TidyQueue
            | Self::FoldSession { .. }
            | Self::TitleSession { .. }
            | Self::LearnAgain { .. } => 3,
            // For about an hour and a half.
            Self::DeliverWebhook { .. } | Self::Learn { .. } | Self::EmbedNew => 8,
        }
    }
}

/// A short name for something whose id may be long: keys and lines have a length limit.
fn digest(id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(id)[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_kinds_are_known() {
        let refused = serde_json::from_value::<Job>(json!({"kind": "?"})).unwrap_err().to_string();
        let kinds: Vec<&str> = refused.split('`').skip(3).step_by(2).collect();
        assert_eq!(kinds, KINDS, "{refused}");
    }
}
